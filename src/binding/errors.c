/* WinsockError: how a failure_t becomes an exception. C7 */
#include "binding/binding.h"

#include "core/winsock_errors.h"

PyDoc_STRVAR(winsock_error_doc,
             "A socket call failed.\n"
             "\n"
             "Attributes:\n"
             "    code (int): the Winsock error number, such as 10022, on every platform.\n"
             "    symbol (str): its name, such as 'WSAEINVAL'.\n"
             "    call (str): the call that failed, such as 'WSAIoctl(SIO_RCVALL)'.\n"
             "    hint (str): one sentence that says what to do, or ''.\n"
             "    errno (int): the system's own number.\n"
             "\n"
             "Contract C7. Numbers:\n"
             "https://learn.microsoft.com/windows/win32/winsock/windows-sockets-error-codes-2");

PyDoc_STRVAR(permission_doc, "WSAEACCES (10013): the privilege to do so is missing. Contract R12.");
PyDoc_STRVAR(interrupted_doc, "WSAEINTR (10004): another thread closed the socket. Contract R15.");

PyDoc_STRVAR(savefile_error_doc,
             "What was read is no sound savefile.\n"
             "\n"
             "Everything before the fault was delivered.\n"
             "\n"
             "Attributes:\n"
             "    offset (int): where in the (uncompressed) file the fault is, in bytes.\n"
             "    reason (str): what is wrong there.");

static PyObject *
add_exception(PyObject *module, const char *name, const char *doc, PyObject *bases,
              PyObject *attributes)
{
    PyObject *full_name = PyUnicode_FromFormat("winsockctl.%s", name);
    if (full_name == NULL) {
        return NULL;
    }
    PyObject *exception =
        PyErr_NewExceptionWithDoc(PyUnicode_AsUTF8(full_name), doc, bases, attributes);
    Py_DECREF(full_name);
    if (exception != NULL && PyModule_AddObjectRef(module, name, exception) < 0) {
        Py_CLEAR(exception);
    }
    return exception;
}

static PyObject *
add_subclass(PyObject *module, const char *name, const char *doc, PyObject *base, PyObject *builtin)
{
    PyObject *bases = PyTuple_Pack(2, base, builtin);
    if (bases == NULL) {
        return NULL;
    }
    PyObject *exception = add_exception(module, name, doc, bases, NULL);
    Py_DECREF(bases);
    return exception;
}

int
errors_add(PyObject *module, module_state_t *state)
{
    PyObject *attributes =
        Py_BuildValue("{s:i,s:s,s:s,s:s}", "code", 0, "symbol", "", "call", "", "hint", "");
    if (attributes == NULL) {
        return -1;
    }
    state->winsock_error =
        add_exception(module, "WinsockError", winsock_error_doc, PyExc_OSError, attributes);
    Py_DECREF(attributes);
    if (state->winsock_error == NULL) {
        return -1;
    }
    state->winsock_permission_error = add_subclass(module, "WinsockPermissionError", permission_doc,
                                                   state->winsock_error, PyExc_PermissionError);
    if (state->winsock_permission_error == NULL) {
        return -1;
    }
    state->winsock_interrupted_error =
        add_subclass(module, "WinsockInterruptedError", interrupted_doc, state->winsock_error,
                     PyExc_InterruptedError);
    if (state->winsock_interrupted_error == NULL) {
        return -1;
    }
    attributes = Py_BuildValue("{s:i,s:s}", "offset", 0, "reason", "");
    if (attributes == NULL) {
        return -1;
    }
    state->savefile_error =
        add_exception(module, "SavefileError", savefile_error_doc, PyExc_ValueError, attributes);
    Py_DECREF(attributes);
    return state->savefile_error == NULL ? -1 : 0;
}

static int
set_text(PyObject *exception, const char *name, const char *value)
{
    PyObject *text = PyUnicode_FromString(value);
    if (text == NULL) {
        return -1;
    }
    int result = PyObject_SetAttrString(exception, name, text);
    Py_DECREF(text);
    return result;
}

static int
set_number(PyObject *exception, const char *name, uint64_t value)
{
    PyObject *number = PyLong_FromUnsignedLongLong(value);
    if (number == NULL) {
        return -1;
    }
    int result = PyObject_SetAttrString(exception, name, number);
    Py_DECREF(number);
    return result;
}

static int
set_attributes(PyObject *exception, const failure_t *failure)
{
    if (set_number(exception, "code", (uint64_t)failure->code) < 0 ||
        set_text(exception, "symbol", winsock_error_symbol(failure->code)) < 0 ||
        set_text(exception, "call", failure->call) < 0 ||
        set_text(exception, "hint", failure->hint) < 0) {
        return -1;
    }
    return 0;
}

PyObject *
raise_file_failure(const failure_t *failure, PyObject *filename)
{
    PyObject *text =
        PyUnicode_FromFormat("%s failed: %s", failure->call, strerror(failure->system_error));
    PyObject *exception =
        filename == NULL || filename == Py_None
            ? PyObject_CallFunction(PyExc_OSError, "iN", failure->system_error, text)
            : PyObject_CallFunction(PyExc_OSError, "iNO", failure->system_error, text, filename);
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    return NULL;
}

PyObject *
raise_failure(module_state_t *state, const failure_t *failure)
{
    PyObject *type = failure->code == WINSOCK_WSAEACCES  ? state->winsock_permission_error
                     : failure->code == WINSOCK_WSAEINTR ? state->winsock_interrupted_error
                                                         : state->winsock_error;
    int number = failure->system_error != 0 ? failure->system_error : platform_errno(failure->code);
    PyObject *message = PyUnicode_FromFormat("%s failed with %s (%d)%s%s", failure->call,
                                             winsock_error_symbol(failure->code), failure->code,
                                             failure->hint[0] == '\0' ? "" : ": ", failure->hint);
    PyObject *exception = PyObject_CallFunction(type, "iN", number, message);
    if (exception != NULL && set_attributes(exception, failure) == 0) {
        PyErr_SetObject(type, exception);
    }
    Py_XDECREF(exception);
    return NULL;
}

PyObject *
raise_savefile_fault(module_state_t *state, const char *reason, uint64_t offset)
{
    PyObject *exception = PyObject_CallFunction(
        state->savefile_error, "N",
        PyUnicode_FromFormat("%s (byte %llu)", reason, (unsigned long long)offset));
    if (exception != NULL && set_number(exception, "offset", offset) == 0 &&
        set_text(exception, "reason", reason) == 0) {
        PyErr_SetObject(state->savefile_error, exception);
    }
    Py_XDECREF(exception);
    return NULL;
}
