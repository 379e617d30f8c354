/* Operation: a control operation that was started and not waited for. C4-C6 */
#include "binding/binding.h"

#include "backend/operation.h"
#include "core/control_code.h"
#include "core/winsock_errors.h"

typedef struct {
    PyObject_HEAD
    operation_t *operation;
    PyObject *weak_references;
} Operation;

/* Both release the request; NULL with an exception. */
static operation_t *
start(module_state_t *state, intptr_t descriptor, control_request_t *request)
{
    operation_t *operation;
    failure_t failure;
    Py_BEGIN_ALLOW_THREADS
    operation = operation_start(descriptor, request->code, request->input.buf,
                                (size_t)request->input.len, (size_t)request->output_size, &failure);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&request->input);
    if (operation == NULL) {
        raise_failure(state, &failure);
    }
    return operation;
}

static operation_t *
start_own(module_state_t *state, const control_target_t *target, control_request_t *request)
{
    PyObject *output = control_run(state, target, request);
    if (output == NULL) {
        return NULL;
    }
    failure_t failure;
    operation_t *operation =
        operation_start_done(PyBytes_AS_STRING(output), (size_t)PyBytes_GET_SIZE(output), &failure);
    Py_DECREF(output);
    if (operation == NULL) {
        raise_failure(state, &failure);
    }
    return operation;
}

static PyObject *
operation_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Operation() takes no keyword arguments");
        return NULL;
    }
    module_state_t *state = state_of_type(type);
    control_target_t target;
    control_request_t request;
    if (state == NULL || control_parse(state, args, &target, &request) < 0) {
        return NULL;
    }
    Operation *self = (Operation *)type->tp_alloc(type, 0);
    if (self == NULL) {
        PyBuffer_Release(&request.input);
        Py_XDECREF(target.own);
        return NULL;
    }
    if (target.own != NULL && request.code == (uint32_t)CODE_SIO_RCVALL) {
        /* The raw socket keeps its mode in mind: nobody else may change it. It does not wait. */
        self->operation = start_own(state, &target, &request);
    } else {
        self->operation = start(state, target.descriptor, &request);
    }
    Py_XDECREF(target.own);
    if (self->operation == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void
operation_dealloc(Operation *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weak_references != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    if (self->operation != NULL) {
        Py_BEGIN_ALLOW_THREADS
        operation_free(self->operation);
        Py_END_ALLOW_THREADS
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static int
operation_traverse(Operation *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* 1 done, 0 not yet, -1 with the exception of a signal handler. */
static int
wait_until(Operation *self, int64_t deadline_ns)
{
    for (;;) {
        enum operation_outcome outcome;
        int64_t slice_ns = platform_now_ns() + platform_signal_interval_ns;
        bool is_slice = slice_ns < deadline_ns;
        Py_BEGIN_ALLOW_THREADS
        outcome = operation_wait(self->operation, is_slice ? slice_ns : deadline_ns);
        Py_END_ALLOW_THREADS
        if (outcome == OPERATION_DONE) {
            return 1;
        }
        if (outcome == OPERATION_PENDING && !is_slice) {
            return 0;
        }
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
}

PyDoc_STRVAR(wait_doc, "wait($self, /, timeout=None)\n--\n\n"
                       "Wait until the operation is done, well or not.\n"
                       "\n"
                       "Args:\n"
                       "    timeout: seconds; ``None`` waits for ever, 0 does not wait.\n"
                       "\n"
                       "Returns:\n"
                       "    bool: whether it is done.");

static PyObject *
operation_wait_method(Operation *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline_ns;
    if (parse_timeout(args, kwargs, "|O:wait", &deadline_ns) < 0) {
        return NULL;
    }
    int done = wait_until(self, deadline_ns);
    return done < 0 ? NULL : PyBool_FromLong(done);
}

PyDoc_STRVAR(done_doc, "done($self, /)\n--\n\nWhether the operation is done, well or not.");

static PyObject *
operation_done(Operation *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(operation_wait(self->operation, 0) == OPERATION_DONE);
}

PyDoc_STRVAR(
    result_doc,
    "result($self, /)\n--\n\n"
    "Return the output of an operation that is done.\n"
    "\n"
    "Raises:\n"
    "    WinsockError: WSA_IO_INCOMPLETE (996) if it is not done; else what made it fail,\n"
    "        WSA_OPERATION_ABORTED (995) if it was cancelled, its socket closed or the\n"
    "        thread that started it ended (contract C6).");

static PyObject *
operation_result_method(Operation *self, PyObject *Py_UNUSED(ignored))
{
    module_state_t *state = state_of_type(Py_TYPE(self));
    failure_t failure;
    if (operation_wait(self->operation, 0) != OPERATION_DONE) {
        fail(&failure, "WSAIoctl", WINSOCK_WSA_IO_INCOMPLETE,
             "the operation is not done: wait() for it first");
        return raise_failure(state, &failure);
    }
    const void *output;
    size_t size;
    if (operation_result(self->operation, &output, &size, &failure) < 0) {
        return raise_failure(state, &failure);
    }
    return PyBytes_FromStringAndSize(output, (Py_ssize_t)size);
}

PyDoc_STRVAR(
    cancel_doc,
    "cancel($self, /)\n--\n\n"
    "Ask the system to end the operation: it is done soon, with WSA_OPERATION_ABORTED. One\n"
    "that is done stays as it is.");

static PyObject *
operation_cancel_method(Operation *self, PyObject *Py_UNUSED(ignored))
{
    operation_cancel(self->operation);
    Py_RETURN_NONE;
}

static PyMethodDef operation_methods[] = {
    {"wait", (PyCFunction)(void (*)(void))operation_wait_method, METH_VARARGS | METH_KEYWORDS,
     wait_doc},
    {"done", (PyCFunction)operation_done, METH_NOARGS, done_doc},
    {"result", (PyCFunction)operation_result_method, METH_NOARGS, result_doc},
    {"cancel", (PyCFunction)operation_cancel_method, METH_NOARGS, cancel_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef operation_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Operation, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(operation_type_doc, "Operation(sock, code, in_buffer=b'', out_size=0, /)\n--\n\n"
                                 "A control operation that was started and not waited for; see\n"
                                 "``winsockctl.start_ioctl``.");

static PyType_Slot operation_slots[] = {
    {Py_tp_doc, (void *)operation_type_doc},
    {Py_tp_new, operation_new},
    {Py_tp_dealloc, operation_dealloc},
    {Py_tp_traverse, operation_traverse},
    {Py_tp_methods, operation_methods},
    {Py_tp_members, operation_members},
    {0, NULL},
};

PyType_Spec operation_spec = {
    .name = "winsockctl._winsockctl.Operation",
    .basicsize = sizeof(Operation),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = operation_slots,
};
