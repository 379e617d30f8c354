/* interfaces(): what can be captured, as tuples; the package makes Interface objects of them. */
#include "binding/binding.h"

static PyObject *
addresses_of(const interface_t *interface)
{
    PyObject *addresses = PyTuple_New((Py_ssize_t)interface->address_count);
    for (size_t i = 0; addresses != NULL && i < interface->address_count; i++) {
        PyObject *text = PyUnicode_FromString(interface->addresses[i]);
        if (text == NULL) {
            Py_CLEAR(addresses);
            break;
        }
        PyTuple_SET_ITEM(addresses, (Py_ssize_t)i, text);
    }
    return addresses;
}

static PyObject *
fields_of(const interface_t *interface)
{
    PyObject *name = PyUnicode_DecodeFSDefault(interface->name);
    PyObject *description = PyUnicode_DecodeFSDefault(interface->description);
    PyObject *addresses = addresses_of(interface);
    if (name == NULL || description == NULL || addresses == NULL) {
        Py_XDECREF(name);
        Py_XDECREF(description);
        Py_XDECREF(addresses);
        return NULL;
    }
    return Py_BuildValue("(NINNNN)", name, (unsigned)interface->index, description, addresses,
                         PyBool_FromLong(interface->up), PyBool_FromLong(interface->loopback));
}

PyObject *
interfaces_function(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    interface_t *interfaces;
    size_t count;
    failure_t failure;
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = platform_interfaces(&interfaces, &count, &failure);
    Py_END_ALLOW_THREADS
    if (result < 0) {
        return raise_failure(state_of_module(module), &failure);
    }
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *fields = fields_of(&interfaces[i]);
        if (fields == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, fields);
    }
    interface_list_free(interfaces, count);
    return list;
}
