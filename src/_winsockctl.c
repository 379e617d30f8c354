/* The extension module: definition, state, method table. */
#include "binding/binding.h"

static PyObject *
backends_function(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && platform_backends[i] != NULL; i++) {
        PyObject *name = PyUnicode_FromString(platform_backends[i]->name);
        if (name == NULL || PyList_Append(list, name) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(name);
    }
    PyObject *names = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return names;
}

PyDoc_STRVAR(backends_doc, "backends($module, /)\n--\n\n"
                           "Return the names of the backends of this platform, the best first.");
PyDoc_STRVAR(interfaces_doc,
             "interfaces($module, /)\n--\n\n"
             "Return (name, index, description, addresses, up, loopback) of each interface.");
PyDoc_STRVAR(ioctl_doc, "ioctl($module, sock, code, in_buffer=b'', out_size=0, /)\n--\n\n"
                        "Issue a control code on a socket; see ``winsockctl.ioctl``.");

static PyMethodDef module_methods[] = {
    {"backends", backends_function, METH_NOARGS, backends_doc},
    {"interfaces", interfaces_function, METH_NOARGS, interfaces_doc},
    {"ioctl", control_function, METH_VARARGS, ioctl_doc},
    {NULL, NULL, 0, NULL},
};

static int
add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **place, bool is_public)
{
    *place = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (*place == NULL) {
        return -1;
    }
    return is_public ? PyModule_AddType(module, *place) : 0;
}

static int
import_families(module_state_t *state)
{
    PyObject *socket = PyImport_ImportModule("socket");
    if (socket == NULL) {
        return -1;
    }
    state->family_ipv4 = PyObject_GetAttrString(socket, "AF_INET");
    state->family_ipv6 = PyObject_GetAttrString(socket, "AF_INET6");
    state->family_any = PyObject_GetAttrString(socket, "AF_UNSPEC");
    Py_DECREF(socket);
    return state->family_ipv4 && state->family_ipv6 && state->family_any ? 0 : -1;
}

static int
module_exec(PyObject *module)
{
    module_state_t *state = state_of_module(module);
    state->open_sockets = PyDict_New();
    if (state->open_sockets == NULL ||
        add_type(module, &batch_spec, &state->batch_type, true) < 0 ||
        add_type(module, &batch_iterator_spec, &state->batch_iterator_type, false) < 0 ||
        add_type(module, &column_spec, &state->column_type, false) < 0 ||
        add_type(module, &datagram_spec, &state->datagram_type, true) < 0 ||
        add_type(module, &operation_spec, &state->operation_type, true) < 0 ||
        add_type(module, &raw_socket_spec, &state->raw_socket_type, true) < 0 ||
        add_type(module, &recording_spec, &state->recording_type, true) < 0 ||
        add_type(module, &savefile_reader_spec, &state->savefile_reader_type, true) < 0 ||
        errors_add(module, state) < 0 || enumerations_add(module, state) < 0) {
        return -1;
    }
    return import_families(state);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state_t *state = state_of_module(module);
    Py_VISIT(state->batch_type);
    Py_VISIT(state->batch_iterator_type);
    Py_VISIT(state->column_type);
    Py_VISIT(state->datagram_type);
    Py_VISIT(state->operation_type);
    Py_VISIT(state->raw_socket_type);
    Py_VISIT(state->recording_type);
    Py_VISIT(state->savefile_reader_type);
    Py_VISIT(state->winsock_error);
    Py_VISIT(state->winsock_permission_error);
    Py_VISIT(state->winsock_interrupted_error);
    Py_VISIT(state->savefile_error);
    Py_VISIT(state->direction);
    Py_VISIT(state->directions);
    Py_VISIT(state->record_flag);
    Py_VISIT(state->family_ipv4);
    Py_VISIT(state->family_ipv6);
    Py_VISIT(state->family_any);
    Py_VISIT(state->open_sockets);
    return 0;
}

static int
module_clear(PyObject *module)
{
    module_state_t *state = state_of_module(module);
    Py_CLEAR(state->batch_type);
    Py_CLEAR(state->batch_iterator_type);
    Py_CLEAR(state->column_type);
    Py_CLEAR(state->datagram_type);
    Py_CLEAR(state->operation_type);
    Py_CLEAR(state->raw_socket_type);
    Py_CLEAR(state->recording_type);
    Py_CLEAR(state->savefile_reader_type);
    Py_CLEAR(state->winsock_error);
    Py_CLEAR(state->winsock_permission_error);
    Py_CLEAR(state->winsock_interrupted_error);
    Py_CLEAR(state->savefile_error);
    Py_CLEAR(state->direction);
    Py_CLEAR(state->directions);
    Py_CLEAR(state->record_flag);
    Py_CLEAR(state->family_ipv4);
    Py_CLEAR(state->family_ipv6);
    Py_CLEAR(state->family_any);
    Py_CLEAR(state->open_sockets);
    return 0;
}

static void
module_free(void *module)
{
    module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "winsockctl._winsockctl",
    .m_doc = "The C floor of winsockctl: sockets, batches and control codes.",
    .m_size = sizeof(module_state_t),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__winsockctl(void)
{
    return PyModuleDef_Init(&module_definition);
}
