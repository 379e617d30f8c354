/* ioctl(): WSAIoctl on any socket. C1-C3 */
#include "binding/binding.h"

/* More than any control code returns; a larger wish is a mistake. */
#define LARGEST_OUTPUT (1 << 20)

typedef struct {
    uint32_t code;
    Py_buffer input;
    Py_ssize_t output_size;
} request_t;

static int
parse_request(PyObject *arguments, request_t *request)
{
    PyObject *code_object, *size_object = NULL;
    long long code, size = 0;
    *request = (request_t){0};
    if (!PyArg_ParseTuple(arguments, "O|y*O:ioctl", &code_object, &request->input, &size_object)) {
        return -1;
    }
    if (parse_integer(code_object, 0, UINT32_MAX, "a control code is a number from 0 to 0xFFFFFFFF",
                      &code) < 0 ||
        (size_object != NULL && parse_integer(size_object, 0, LARGEST_OUTPUT,
                                              "out_size must be 0 to 1048576 bytes", &size) < 0)) {
        PyBuffer_Release(&request->input);
        return -1;
    }
    request->code = (uint32_t)code;
    request->output_size = (Py_ssize_t)size;
    return 0;
}

PyObject *
control_run(module_state_t *state, struct RawSocket *own, intptr_t descriptor, PyObject *arguments)
{
    request_t request;
    if (parse_request(arguments, &request) < 0) {
        return NULL;
    }
    PyObject *output = PyBytes_FromStringAndSize(NULL, request.output_size);
    if (output == NULL) {
        PyBuffer_Release(&request.input);
        return NULL;
    }
    const void *input = request.input.buf;
    size_t input_size = (size_t)request.input.len, output_size = (size_t)request.output_size;
    void *room = PyBytes_AS_STRING(output);
    size_t returned = 0;
    failure_t failure;
    int result;
    Py_BEGIN_ALLOW_THREADS result =
        own != NULL ? raw_socket_control(own, request.code, input, input_size, room, output_size,
                                         &returned, &failure)
                    : platform_control(descriptor, request.code, input, input_size, room,
                                       output_size, &returned, &failure);
    Py_END_ALLOW_THREADS PyBuffer_Release(&request.input);
    if (result < 0) {
        Py_DECREF(output);
        return raise_failure(state, &failure);
    }
    if (returned < output_size) {
        _PyBytes_Resize(&output, (Py_ssize_t)returned);
    }
    return output;
}

static int
descriptor_of(PyObject *sock, intptr_t *descriptor)
{
    PyObject *number =
        PyLong_Check(sock) ? Py_NewRef(sock) : PyObject_CallMethod(sock, "fileno", NULL);
    if (number == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Format(PyExc_TypeError, "a socket or its descriptor is needed, not %.100s",
                         Py_TYPE(sock)->tp_name);
        }
        return -1;
    }
    long long value = PyLong_AsLongLong(number);
    Py_DECREF(number);
    if (value == -1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return -1;
        }
        PyErr_Clear(); /* no descriptor is that large: it is no socket */
    }
    *descriptor = (intptr_t)value;
    return 0;
}

PyObject *
control_function(PyObject *module, PyObject *arguments)
{
    module_state_t *state = state_of_module(module);
    Py_ssize_t count = PyTuple_GET_SIZE(arguments);
    if (count < 2) {
        PyErr_SetString(PyExc_TypeError, "ioctl() takes a socket and a control code");
        return NULL;
    }
    PyObject *sock = PyTuple_GET_ITEM(arguments, 0);
    struct RawSocket *own;
    intptr_t descriptor = -1;
    if (Py_IS_TYPE(sock, state->raw_socket_type)) {
        own = (struct RawSocket *)sock;
    } else if (descriptor_of(sock, &descriptor) < 0) {
        return NULL;
    } else {
        own = raw_socket_find(state, descriptor);
    }
    PyObject *request = PyTuple_GetSlice(arguments, 1, count);
    if (request == NULL) {
        return NULL;
    }
    Py_XINCREF(own);
    PyObject *output = control_run(state, own, descriptor, request);
    Py_XDECREF(own);
    Py_DECREF(request);
    return output;
}
