/* Arguments that several types take, checked at once and with an error that says what is right. */
#include "binding/binding.h"

#define NANOSECONDS_PER_SECOND 1e9

int
parse_integer(PyObject *object, long long smallest, long long largest, const char *complaint,
              long long *value)
{
    PyObject *integer = PyNumber_Index(object);
    if (integer == NULL) {
        return -1;
    }
    int overflow;
    *value = PyLong_AsLongLongAndOverflow(integer, &overflow);
    Py_DECREF(integer);
    if (overflow != 0 || *value < smallest || *value > largest) {
        PyErr_SetString(PyExc_ValueError, complaint);
        return -1;
    }
    return 0;
}

/* A converter for PyArg_Parse: 1 is success. */
int
parse_snaplen(PyObject *object, void *snaplen)
{
    long long value = UINT32_MAX;
    if (object != Py_None &&
        parse_integer(object, 1, UINT32_MAX - 1,
                      "snaplen must be at least 1 byte and below 2**32 - 1; None keeps whole "
                      "datagrams",
                      &value) < 0) {
        return 0;
    }
    *(uint32_t *)snaplen = (uint32_t)value;
    return 1;
}

static int
parse_instruction(PyObject *object, filter_instruction_t *instruction)
{
    static const char complaint[] = "an instruction is (code, jt, jf, k) of 16, 8, 8 and 32 bits";
    static const long long largest[] = {UINT16_MAX, UINT8_MAX, UINT8_MAX, UINT32_MAX};
    long long numbers[4];
    if (!PyTuple_Check(object) || PyTuple_GET_SIZE(object) != 4) {
        PyErr_SetString(PyExc_TypeError, complaint);
        return -1;
    }
    for (Py_ssize_t i = 0; i < 4; i++) {
        if (parse_integer(PyTuple_GET_ITEM(object, i), 0, largest[i], complaint, &numbers[i]) < 0) {
            return -1;
        }
    }
    *instruction = (filter_instruction_t){(uint16_t)numbers[0], (uint8_t)numbers[1],
                                          (uint8_t)numbers[2], (uint32_t)numbers[3]};
    return 0;
}

int
parse_filter(PyObject *object, filter_t **filter)
{
    *filter = NULL;
    if (object == Py_None) {
        return 0;
    }
    PyObject *list = PySequence_Fast(object, "filter must be a sequence of BPF instructions");
    if (list == NULL) {
        return -1;
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(list);
    filter_instruction_t *instructions = PyMem_New(filter_instruction_t, (size_t)count + 1);
    int result = instructions == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && i < count; i++) {
        result = parse_instruction(PySequence_Fast_GET_ITEM(list, i), &instructions[i]);
    }
    Py_DECREF(list);
    if (result == 0) {
        size_t where;
        const char *wrong = filter_check(instructions, (size_t)count, &where);
        if (wrong != NULL) {
            PyErr_Format(PyExc_ValueError, "filter: instruction %zu: %s", where, wrong);
            result = -1;
        } else {
            *filter = filter_new(instructions, (size_t)count);
        }
    }
    PyMem_Free(instructions);
    if (result == 0 && *filter == NULL) {
        PyErr_NoMemory();
        result = -1;
    }
    return result;
}

int
parse_deadline(PyObject *timeout, int64_t *deadline_ns)
{
    if (timeout == Py_None) {
        *deadline_ns = INT64_MAX;
        return 0;
    }
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(seconds >= 0)) { /* nor a NaN */
        PyErr_SetString(PyExc_ValueError, "timeout must be 0 seconds or more; None waits for ever");
        return -1;
    }
    int64_t now = platform_now_ns();
    double rest = (double)(INT64_MAX - now) / 2;
    *deadline_ns = seconds * NANOSECONDS_PER_SECOND >= rest
                       ? INT64_MAX
                       : now + (int64_t)(seconds * NANOSECONDS_PER_SECOND);
    return 0;
}

int
parse_timeout(PyObject *args, PyObject *kwargs, const char *format, int64_t *deadline_ns)
{
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = Py_None;
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &timeout)
               ? parse_deadline(timeout, deadline_ns)
               : -1;
}

int
parse_family(module_state_t *state, PyObject *object, enum ip_family *family)
{
    const struct {
        PyObject *object;
        enum ip_family family;
    } families[] = {
        {state->family_ipv4, FAMILY_IPV4},
        {state->family_ipv6, FAMILY_IPV6},
        {state->family_any, FAMILY_ANY},
    };
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "family must be an int, not %.100s",
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        int equal = PyObject_RichCompareBool(object, families[i].object, Py_EQ);
        if (equal != 0) {
            *family = families[i].family;
            return equal < 0 ? -1 : 0;
        }
    }
    PyErr_Format(PyExc_ValueError,
                 "family must be socket.AF_INET, AF_INET6, or AF_UNSPEC for both, not %S", object);
    return -1;
}
