/* Direction and RecordFlag: what the numbers in a record mean. */
#include "binding/binding.h"

typedef struct {
    const char *name;
    long value;
} member_t;

static const member_t directions[] = {
    {"UNKNOWN", DIRECTION_UNKNOWN},
    {"INCOMING", DIRECTION_INCOMING},
    {"OUTGOING", DIRECTION_OUTGOING},
    {"OTHER", DIRECTION_OTHER},
    {NULL, 0},
};

static const member_t record_flags[] = {
    {"TRUNCATED", RECORD_TRUNCATED},
    {"REBUILT", RECORD_REBUILT},
    {"NEXT_HEADER_UNKNOWN", RECORD_NEXT_HEADER_UNKNOWN},
    {"HOP_LIMIT_UNKNOWN", RECORD_HOP_LIMIT_UNKNOWN},
    {"TRAFFIC_CLASS_UNKNOWN", RECORD_TRAFFIC_CLASS_UNKNOWN},
    {"FLOW_LABEL_UNKNOWN", RECORD_FLOW_LABEL_UNKNOWN},
    {"DESTINATION_UNKNOWN", RECORD_DESTINATION_UNKNOWN},
    {NULL, 0},
};

PyDoc_STRVAR(direction_doc,
             "Which way a datagram went: to this machine, from it, or (OTHER) to another station, "
             "which\n"
             "is seen in promiscuous mode only. UNKNOWN where the system does not tell.");

PyDoc_STRVAR(
    record_flag_doc,
    "What is to be known about the bytes of a datagram: ``Datagram.flags``, and the column "
    "``flags``\n"
    "of ``Batch.records``.\n"
    "\n"
    "TRUNCATED: only the first bytes were kept. REBUILT: the system kept the IPv6 header back\n"
    "(Windows does) and it was made anew from what it tells besides (contract R11). Only then the\n"
    "others are set, each for a field that could not be known: the next header is then 59 (no "
    "next\n"
    "header), every other one is zero. Extension headers are lost in any case.");

static PyObject *
members_of(const member_t *members)
{
    PyObject *list = PyList_New(0);
    for (; list != NULL && members->name != NULL; members++) {
        PyObject *pair = Py_BuildValue("(sl)", members->name, members->value);
        if (pair == NULL || PyList_Append(list, pair) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(pair);
    }
    return list;
}

/* A new reference; the module has another one. */
static PyObject *
add(PyObject *module, PyObject *base, const char *name, const member_t *members, const char *doc)
{
    PyObject *text = PyUnicode_FromString(doc);
    PyObject *owner = PyUnicode_FromString("winsockctl");
    PyObject *list = members_of(members);
    PyObject *made = NULL;
    if (text != NULL && owner != NULL && list != NULL) {
        made = PyObject_CallFunction(base, "sO", name, list);
    }
    if (made != NULL && (PyObject_SetAttrString(made, "__doc__", text) < 0 ||
                         PyObject_SetAttrString(made, "__module__", owner) < 0 ||
                         PyModule_AddObjectRef(module, name, made) < 0)) {
        Py_CLEAR(made);
    }
    Py_XDECREF(text);
    Py_XDECREF(owner);
    Py_XDECREF(list);
    return made;
}

int
enumerations_add(PyObject *module, module_state_t *state)
{
    PyObject *enumeration = PyImport_ImportModule("enum");
    if (enumeration == NULL) {
        return -1;
    }
    PyObject *numbers = PyObject_GetAttrString(enumeration, "IntEnum");
    PyObject *flags = PyObject_GetAttrString(enumeration, "IntFlag");
    Py_DECREF(enumeration);
    if (numbers != NULL && flags != NULL) {
        state->direction = add(module, numbers, "Direction", directions, direction_doc);
    }
    if (state->direction != NULL) {
        state->directions = PySequence_Tuple(state->direction);
    }
    if (state->directions != NULL) {
        state->record_flag = add(module, flags, "RecordFlag", record_flags, record_flag_doc);
    }
    Py_XDECREF(numbers);
    Py_XDECREF(flags);
    return state->record_flag == NULL ? -1 : 0;
}
