/* The arguments of RawSocket, checked at once and with an error that says what is right. */
#include "binding/binding.h"

#define SMALLEST_BUFFER (1LL << 20) /* bytes */
#define USUAL_BUFFER (64LL << 20)
#define SHORTEST_LATENCY 0.001 /* seconds; the kernel counts milliseconds */
#define LONGEST_LATENCY 60.0
#define NANOSECONDS_PER_SECOND 1e9

int
raw_socket_parse_backend(PyObject *object, const char **name)
{
    if (object == Py_None) {
        *name = NULL;
        return 0;
    }
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "backend must be a str or None, not %.100s",
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    Py_ssize_t size;
    *name = PyUnicode_AsUTF8AndSize(object, &size);
    if (*name == NULL) {
        return -1;
    }
    for (const backend_t *const *backend = platform_backends; *backend != NULL; backend++) {
        if (*backend != &replay_backend && strcmp((*backend)->name, *name) == 0 &&
            strlen(*name) == (size_t)size) {
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError,
                 "there is no capture backend %R here: winsockctl.backends() lists them", object);
    return -1;
}

int
raw_socket_parse_numbers(PyObject *protocol, PyObject *buffer_size, double latency,
                         channel_options_t *options)
{
    long long value = -1;
    if (protocol != Py_None &&
        parse_integer(protocol, 0, 255, "protocol must be a number from 0 to 255, or None",
                      &value) < 0) {
        return -1;
    }
    options->protocol = (int)value;
    value = USUAL_BUFFER;
    if (buffer_size != NULL &&
        parse_integer(buffer_size, SMALLEST_BUFFER, LLONG_MAX,
                      "buffer_size must be at least 1048576 bytes and below 2**63", &value) < 0) {
        return -1;
    }
    options->buffer_size = (uint64_t)value;
    if (!(latency >= SHORTEST_LATENCY && latency <= LONGEST_LATENCY)) {
        PyErr_SetString(PyExc_ValueError, "latency must be 0.001 to 60 seconds");
        return -1;
    }
    options->latency_ns = (int64_t)(latency * NANOSECONDS_PER_SECOND);
    return 0;
}

int
raw_socket_parse_fanout(PyObject *object, channel_options_t *options)
{
    options->has_fanout = object != Py_None;
    long long group = 0;
    if (options->has_fanout &&
        parse_integer(object, 0, UINT16_MAX, "fanout must be a group from 0 to 65535, or None",
                      &group) < 0) {
        return -1;
    }
    options->fanout = (uint16_t)group;
    return 0;
}

int
raw_socket_parse_interface(PyObject *object, interface_choice_t *where, PyObject **keep)
{
    *keep = NULL;
    if (PyUnicode_Check(object)) {
        *keep = PyUnicode_EncodeFSDefault(object);
        if (*keep == NULL) {
            return -1;
        }
        where->text = PyBytes_AS_STRING(*keep);
        if (strlen(where->text) != (size_t)PyBytes_GET_SIZE(*keep)) {
            PyErr_SetString(PyExc_ValueError, "an interface name has no null character");
            return -1;
        }
        return 0;
    }
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError,
                     "bind() takes an address, an interface name or an index, not %.100s",
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    int overflow;
    long index = PyLong_AsLongAndOverflow(object, &overflow);
    /* No interface has the index 0: what cannot be an index is looked for in vain. */
    where->index = overflow || index < 0 || index > INT32_MAX ? 0 : (uint32_t)index;
    return 0;
}
