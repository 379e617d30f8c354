/* ioctl(): WSAIoctl on any socket. C1-C3 */
#include "binding/binding.h"

/* More than any control code returns; a larger wish is a mistake. */
#define LARGEST_OUTPUT (1 << 20)

/* The arguments behind the socket. */
static int
parse_request(PyObject *arguments, control_request_t *request)
{
    PyObject *code_object, *size_object = NULL;
    long long code, size = 0;
    *request = (control_request_t){0};
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

int
control_parse(module_state_t *state, PyObject *arguments, control_target_t *target,
              control_request_t *request)
{
    Py_ssize_t count = PyTuple_GET_SIZE(arguments);
    if (count < 2) {
        PyErr_SetString(PyExc_TypeError, "a socket and a control code are needed");
        return -1;
    }
    PyObject *sock = PyTuple_GET_ITEM(arguments, 0);
    if (Py_IS_TYPE(sock, state->raw_socket_type)) {
        target->own = (struct RawSocket *)Py_NewRef(sock);
        target->descriptor = raw_socket_descriptor(target->own);
    } else if (descriptor_of(sock, &target->descriptor) < 0) {
        return -1;
    } else {
        target->own = raw_socket_find(state, target->descriptor);
    }
    PyObject *rest = PyTuple_GetSlice(arguments, 1, count);
    int result = rest == NULL ? -1 : parse_request(rest, request);
    Py_XDECREF(rest);
    if (result < 0) {
        Py_XDECREF(target->own);
    }
    return result;
}

/* Releases the request. */
PyObject *
control_run(module_state_t *state, const control_target_t *target, control_request_t *request)
{
    PyObject *output = PyBytes_FromStringAndSize(NULL, request->output_size);
    if (output == NULL) {
        PyBuffer_Release(&request->input);
        return NULL;
    }
    const void *input = request->input.buf;
    size_t input_size = (size_t)request->input.len, output_size = (size_t)request->output_size;
    void *room = PyBytes_AS_STRING(output);
    size_t returned = 0;
    failure_t failure;
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = target->own != NULL
                 ? raw_socket_control(target->own, request->code, input, input_size, room,
                                      output_size, &returned, &failure)
                 : platform_control(target->descriptor, request->code, input, input_size, room,
                                    output_size, &returned, &failure);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&request->input);
    if (result < 0) {
        Py_DECREF(output);
        return raise_failure(state, &failure);
    }
    if (returned < output_size) {
        _PyBytes_Resize(&output, (Py_ssize_t)returned);
    }
    return output;
}

PyObject *
control_own(module_state_t *state, struct RawSocket *own, PyObject *arguments)
{
    const control_target_t target = {.own = own, .descriptor = -1};
    control_request_t request;
    return parse_request(arguments, &request) < 0 ? NULL : control_run(state, &target, &request);
}

PyObject *
control_function(PyObject *module, PyObject *arguments)
{
    module_state_t *state = state_of_module(module);
    control_target_t target;
    control_request_t request;
    if (control_parse(state, arguments, &target, &request) < 0) {
        return NULL;
    }
    PyObject *output = control_run(state, &target, &request);
    Py_XDECREF(target.own);
    return output;
}
