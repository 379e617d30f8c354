#include "binding/raw_socket.h"

#include <stdlib.h>

#include "core/winsock_errors.h"

/* -1 with an exception. */
static int
add_to_open(module_state_t *state, RawSocket *self)
{
    PyObject *key = PyLong_FromLongLong((long long)self->descriptor);
    PyObject *reference = key == NULL ? NULL : PyWeakref_NewRef((PyObject *)self, NULL);
    int result = reference == NULL ? -1 : PyDict_SetItem(state->open_sockets, key, reference);
    Py_XDECREF(reference);
    Py_XDECREF(key);
    return result;
}

/* Unless the descriptor is another socket's by now; not to be found is no error. */
static void
remove_from_open(module_state_t *state, const RawSocket *self)
{
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *key = PyLong_FromLongLong((long long)self->descriptor);
    RawSocket *found = key == NULL ? NULL : raw_socket_find(state, self->descriptor);
    if (key != NULL && (found == NULL || found == self)) {
        PyDict_DelItem(state->open_sockets, key);
    }
    PyErr_Clear();
    Py_XDECREF(found);
    Py_XDECREF(key);
    PyErr_SetRaisedException(exception);
}

intptr_t
raw_socket_descriptor(const RawSocket *self)
{
    return self->descriptor;
}

RawSocket *
raw_socket_find(module_state_t *state, intptr_t descriptor)
{
    PyObject *key = PyLong_FromLongLong((long long)descriptor);
    PyObject *reference = NULL, *found = NULL;
    if (key != NULL && PyDict_GetItemRef(state->open_sockets, key, &reference) > 0) {
        PyWeakref_GetRef(reference, &found);
    }
    PyErr_Clear();
    Py_XDECREF(reference);
    Py_XDECREF(key);
    return (RawSocket *)found;
}

static bool
is_refusal(const failure_t *failure)
{
    return failure->code == WINSOCK_WSAENOBUFS || failure->code == WINSOCK_WSAENOPROTOOPT ||
           failure->code == WINSOCK_WSAEOPNOTSUPP;
}

/* The best backend that the system does not refuse, or the one that is named. */
static channel_t *
open_channel(const channel_options_t *options, const char *name, failure_t *failure)
{
    for (const backend_t *const *backend = platform_backends; *backend != NULL; backend++) {
        bool wanted =
            name != NULL ? strcmp((*backend)->name, name) == 0 : *backend != &replay_backend;
        if (!wanted) {
            continue;
        }
        channel_t *channel = (*backend)->open(options, failure);
        if (channel != NULL || name != NULL || !is_refusal(failure)) {
            return channel;
        }
    }
    return NULL;
}

static void
free_locks(RawSocket *self)
{
    if (self->receive_lock != NULL) {
        PyThread_free_lock(self->receive_lock);
    }
    if (self->control_lock != NULL) {
        PyThread_free_lock(self->control_lock);
    }
}

static PyObject *
raw_socket_open(PyTypeObject *type, const channel_options_t *options, const char *backend)
{
    module_state_t *state = PyType_GetModuleState(type);
    RawSocket *self = (RawSocket *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->closing = true;
    self->descriptor = -1;
    self->receive_lock = PyThread_allocate_lock();
    self->control_lock = PyThread_allocate_lock();
    if (self->receive_lock == NULL || self->control_lock == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    failure_t failure;
    Py_BEGIN_ALLOW_THREADS
    self->channel = open_channel(options, backend, &failure);
    Py_END_ALLOW_THREADS
    if (self->channel == NULL) {
        Py_DECREF(self);
        return raise_failure(state, &failure);
    }
    self->closing = false;
    self->backend = self->channel->backend;
    self->family = self->channel->family;
    self->buffer_size = self->channel->buffer_size;
    self->descriptor = self->backend->descriptor(self->channel);
    if (self->descriptor >= 0 && add_to_open(state, self) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static PyObject *
raw_socket_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"family", "protocol", "buffer_size", "snaplen", "latency",
                            "filter", "fanout",   "backend",     NULL};
    PyObject *family, *protocol = Py_None, *buffer_size = NULL;
    PyObject *filter_object = Py_None, *fanout = Py_None, *backend = Py_None;
    filter_t *filter;
    double latency = 0.01;
    const char *backend_name;
    channel_options_t options = {.snaplen = UINT32_MAX};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$OO&dOOO:RawSocket", names, &family,
                                     &protocol, &buffer_size, parse_snaplen, &options.snaplen,
                                     &latency, &filter_object, &fanout, &backend) ||
        parse_family(PyType_GetModuleState(type), family, &options.family) < 0 ||
        raw_socket_parse_numbers(protocol, buffer_size, latency, &options) < 0 ||
        raw_socket_parse_fanout(fanout, &options) < 0 ||
        raw_socket_parse_backend(backend, &backend_name) < 0 ||
        parse_filter(filter_object, &filter) < 0) {
        return NULL;
    }
    options.filter = filter;
    PyObject *self = raw_socket_open(type, &options, backend_name);
    free(filter);
    return self;
}

PyDoc_STRVAR(
    replay_doc,
    "replay($type, datagrams, *, family=0, snaplen=None, filter=None, batch_size=1024,\n"
    "       wait=False, faults=None)\n--\n\n"
    "Return a socket that receives datagrams from memory: the same calls, without privilege.\n"
    "\n"
    "Like any other it must be bound (to any address or name) and turned on.\n"
    "\n"
    "Args:\n"
    "    datagrams: bytes-like objects, ``Datagram`` objects, or tuples ``(data, timestamp_ns,\n"
    "        direction, original_length)`` of which the last two may be left out. What is\n"
    "        neither IPv4 nor IPv6 is passed over (contract R8).\n"
    "    family: ``socket.AF_INET`` or ``AF_INET6`` passes over the other one.\n"
    "    snaplen: bytes to keep of each datagram; ``None`` keeps it whole.\n"
    "    filter: as of ``RawSocket``.\n"
    "    batch_size: datagrams in a batch, 1 to 65536.\n"
    "    wait: after the last datagram, wait as on an idle interface instead of ending.\n"
    "    faults: Winsock error numbers by the call that is to fail with them: 'socket', 'bind',\n"
    "        'WSAIoctl', or 'receive' (behind the last datagram).\n"
    "\n"
    "Raises:\n"
    "    TypeError, ValueError: for an argument of the wrong type or out of range.\n"
    "    WinsockError: the fault of 'socket'.");

static PyObject *
raw_socket_replay(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"datagrams",  "family", "snaplen", "filter",
                            "batch_size", "wait",   "faults",  NULL};
    module_state_t *state = PyType_GetModuleState(type);
    PyObject *datagrams, *family = state->family_any;
    PyObject *filter_object = Py_None, *faults = Py_None;
    filter_t *filter;
    PyObject *batch_size = NULL;
    int wait = 0;
    replay_source_t source = {0};
    channel_options_t options = {.snaplen = UINT32_MAX, .replay = &source};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OO&OOpO:replay", names, &datagrams, &family,
                                     parse_snaplen, &options.snaplen, &filter_object, &batch_size,
                                     &wait, &faults) ||
        parse_family(state, family, &options.family) < 0 ||
        parse_filter(filter_object, &filter) < 0) {
        return NULL;
    }
    options.filter = filter;
    source.wait = wait;
    PyObject *self = NULL;
    if (replay_source_fill(&source, state, datagrams, faults, options.snaplen, batch_size) == 0) {
        self = raw_socket_open(type, &options, replay_backend.name);
    }
    if (self == NULL) {
        replay_source_clear(&source);
    }
    free(filter);
    return self;
}

int
raw_socket_fail_closed(const char *call, failure_t *failure)
{
    return fail(failure, call, WINSOCK_WSAENOTSOCK, "the socket is closed: open a new one");
}

/* Without the GIL, and with nobody inside the backend. */
static void
close_channel(RawSocket *self)
{
    self->dropped = self->backend->dropped(self->channel);
    self->backend->close(self->channel);
    self->channel = NULL;
    if (self->waited != NULL) {
        self->waited->release(self->waited);
        self->waited = NULL;
    }
    while (self->leftover != NULL) {
        block_t *block = self->leftover;
        self->leftover = block->next;
        block->release(block);
    }
}

PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\n"
             "Close the socket: promiscuous mode ends, and every thread that waits in a receive\n"
             "is woken (contract R15). Closing a closed socket does nothing.");

static PyObject *
raw_socket_close(RawSocket *self, PyObject *Py_UNUSED(ignored))
{
    if (!self->closing) {
        self->closing = true;
        self->mode = MODE_OFF;
        if (self->descriptor >= 0) {
            remove_from_open(state_of((PyObject *)self), self);
            self->descriptor = -1;
        }
        self->backend->wake(self->channel);
        Py_BEGIN_ALLOW_THREADS
        PyThread_acquire_lock(self->receive_lock, WAIT_LOCK);
        PyThread_acquire_lock(self->control_lock, WAIT_LOCK);
        close_channel(self);
        PyThread_release_lock(self->control_lock);
        PyThread_release_lock(self->receive_lock);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

GUARDED_METHOD(RawSocket, raw_socket_close)

static void
raw_socket_dealloc(RawSocket *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->weak_references != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    if (self->channel != NULL) {
        if (self->descriptor >= 0) {
            remove_from_open(PyType_GetModuleState(type), self);
        }
        close_channel(self);
    }
    free_locks(self);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(
    bind_doc,
    "bind($self, interface, /)\n--\n\n"
    "Bind the socket to one interface, told by a local address, a name or an index.\n"
    "\n"
    "Raises:\n"
    "    WinsockError: WSAEINVAL for 0.0.0.0 or ::, an address of another family, or while\n"
    "        the socket is capturing (contract R3, R13), or for a fan-out group that is on\n"
    "        another interface; WSAEADDRNOTAVAIL if no interface\n"
    "        has that address, name or index; WSAENETDOWN if it is down.");

static PyObject *
raw_socket_bind(RawSocket *self, PyObject *interface)
{
    interface_choice_t where = {0};
    PyObject *keep;
    if (raw_socket_parse_interface(interface, &where, &keep) < 0) {
        Py_XDECREF(keep);
        return NULL;
    }
    failure_t failure;
    int result;
    Py_BEGIN_ALLOW_THREADS
    PyThread_acquire_lock(self->control_lock, WAIT_LOCK);
    result = self->channel == NULL ? raw_socket_fail_closed("bind", &failure)
                                   : self->backend->bind(self->channel, &where, &failure);
    PyThread_release_lock(self->control_lock);
    Py_END_ALLOW_THREADS
    Py_XDECREF(keep);
    if (result < 0) {
        return raise_failure(state_of((PyObject *)self), &failure);
    }
    Py_RETURN_NONE;
}

int
raw_socket_control(RawSocket *self, uint32_t code, const void *input, size_t input_size,
                   void *output, size_t output_size, size_t *returned, failure_t *failure)
{
    int result;
    PyThread_acquire_lock(self->control_lock, WAIT_LOCK);
    if (self->channel == NULL) {
        result = raw_socket_fail_closed("WSAIoctl", failure);
    } else {
        result = self->backend->control(self->channel, code, input, input_size, output, output_size,
                                        returned, failure);
        self->mode = self->channel->rcvall.mode;
    }
    PyThread_release_lock(self->control_lock);
    return result;
}

PyDoc_STRVAR(ioctl_doc,
             "ioctl($self, code, in_buffer=b'', out_size=0, /)\n--\n\n"
             "Issue a control code on the socket and return its output, as ``winsockctl.ioctl``.");

static PyObject *
raw_socket_ioctl(RawSocket *self, PyObject *arguments)
{
    return control_own(state_of((PyObject *)self), self, arguments);
}

PyDoc_STRVAR(
    set_filter_doc,
    "set_filter($self, filter, /)\n--\n\n"
    "Change the filter, also while another thread receives. What it refuses is not received\n"
    "from now on, also if it is waiting already.\n"
    "\n"
    "Args:\n"
    "    filter: classic BPF instructions, or ``None`` for everything, as of ``RawSocket``.\n"
    "\n"
    "Raises:\n"
    "    TypeError, ValueError: for a filter of the wrong type or one that cannot run.\n"
    "    WinsockError: WSAENOTSOCK if the socket is closed; what the kernel says (socket(7)).\n"
    "        The filter is then what it was.");

static PyObject *
raw_socket_set_filter(RawSocket *self, PyObject *object)
{
    filter_t *filter;
    if (parse_filter(object, &filter) < 0) {
        return NULL;
    }
    failure_t failure;
    int result;
    Py_BEGIN_ALLOW_THREADS
    PyThread_acquire_lock(self->control_lock, WAIT_LOCK);
    result = self->channel == NULL ? raw_socket_fail_closed("set_filter", &failure)
                                   : self->backend->set_filter(self->channel, filter, &failure);
    PyThread_release_lock(self->control_lock);
    free(filter);
    Py_END_ALLOW_THREADS
    if (result < 0) {
        return raise_failure(state_of((PyObject *)self), &failure);
    }
    self->filter_changes++;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    statistics_doc,
    "statistics($self, /)\n--\n\n"
    "Return (received, dropped, truncated, bytes) since the socket was opened; dropped is\n"
    "None where the system does not tell. A closed socket tells its last counts.");

static PyObject *
raw_socket_statistics(RawSocket *self, PyObject *Py_UNUSED(ignored))
{
    Py_BEGIN_ALLOW_THREADS
    raw_socket_dropped(self);
    Py_END_ALLOW_THREADS
    PyObject *dropped = self->dropped < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(self->dropped);
    return Py_BuildValue("(KNKK)", (unsigned long long)self->received, dropped,
                         (unsigned long long)self->truncated, (unsigned long long)self->bytes);
}

PyDoc_STRVAR(fileno_doc,
             "fileno($self, /)\n--\n\n"
             "Return the socket's descriptor (Windows: handle); -1 when closed, and for a replay.");

static PyObject *
raw_socket_fileno(RawSocket *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLongLong((long long)self->descriptor);
}

static PyObject *
raw_socket_enter(RawSocket *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self);
}

static PyObject *
raw_socket_exit(RawSocket *self, PyObject *Py_UNUSED(arguments))
{
    return raw_socket_close_guarded(self, NULL);
}

static PyObject *
raw_socket_get_backend(RawSocket *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(self->backend->name);
}

static PyObject *
raw_socket_get_buffer_size(RawSocket *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(self->buffer_size);
}

static PyObject *
raw_socket_get_closed(RawSocket *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->closing);
}

static PyObject *
raw_socket_get_ended(RawSocket *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->ended);
}

static PyObject *
raw_socket_get_family(RawSocket *self, void *Py_UNUSED(closure))
{
    module_state_t *state = state_of((PyObject *)self);
    return Py_NewRef(self->family == FAMILY_IPV4   ? state->family_ipv4
                     : self->family == FAMILY_IPV6 ? state->family_ipv6
                                                   : state->family_any);
}

static PyObject *
raw_socket_get_mode(RawSocket *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(self->mode);
}

static PyObject *
raw_socket_repr(RawSocket *self)
{
    return PyUnicode_FromFormat("<RawSocket %s%s>", self->backend->name,
                                self->closing ? " closed" : "");
}

GUARDED_METHOD(RawSocket, raw_socket_set_filter)
GUARDED_METHOD(RawSocket, raw_socket_statistics)
GUARDED_METHOD(RawSocket, raw_socket_fileno)
GUARDED_KEYWORDS(RawSocket, raw_socket_receive)
GUARDED_KEYWORDS(RawSocket, raw_socket_wait)
GUARDED_GETTER(RawSocket, raw_socket_get_closed)
GUARDED_GETTER(RawSocket, raw_socket_get_ended)
GUARDED_GETTER(RawSocket, raw_socket_get_mode)

static PyMethodDef raw_socket_methods[] = {
    {"replay", (PyCFunction)(void (*)(void))raw_socket_replay,
     METH_VARARGS | METH_KEYWORDS | METH_CLASS, replay_doc},
    {"bind", (PyCFunction)raw_socket_bind, METH_O, bind_doc},
    {"ioctl", (PyCFunction)raw_socket_ioctl, METH_VARARGS, ioctl_doc},
    {"receive", (PyCFunction)(void (*)(void))raw_socket_receive_guarded,
     METH_VARARGS | METH_KEYWORDS, raw_socket_receive_doc},
    {"wait", (PyCFunction)(void (*)(void))raw_socket_wait_guarded, METH_VARARGS | METH_KEYWORDS,
     raw_socket_wait_doc},
    {"set_filter", (PyCFunction)raw_socket_set_filter_guarded, METH_O, set_filter_doc},
    {"statistics", (PyCFunction)raw_socket_statistics_guarded, METH_NOARGS, statistics_doc},
    {"fileno", (PyCFunction)raw_socket_fileno_guarded, METH_NOARGS, fileno_doc},
    {"close", (PyCFunction)raw_socket_close_guarded, METH_NOARGS, close_doc},
    {"__enter__", (PyCFunction)raw_socket_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)raw_socket_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef raw_socket_getset[] = {
    {"backend", (getter)raw_socket_get_backend, NULL,
     "Which backend is at work, one of ``winsockctl.backends()``.", NULL},
    {"buffer_size", (getter)raw_socket_get_buffer_size, NULL,
     "Bytes that the backend really has for datagrams not yet received.", NULL},
    {"closed", (getter)raw_socket_get_closed_guarded, NULL, "Whether ``close()`` was called.",
     NULL},
    {"ended", (getter)raw_socket_get_ended_guarded, NULL,
     "Whether there can be no further datagram, as behind the last one of a replay.", NULL},
    {"family", (getter)raw_socket_get_family, NULL,
     "``socket.AF_INET``, ``AF_INET6``, or ``AF_UNSPEC`` for both.", NULL},
    {"mode", (getter)raw_socket_get_mode_guarded, NULL,
     "What SIO_RCVALL is set to: a ``RcvAll`` value.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef raw_socket_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(RawSocket, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    raw_socket_doc,
    "RawSocket(family, protocol=None, *, buffer_size=67108864, snaplen=None, latency=0.01,\n"
    "          filter=None, fanout=None, backend=None)\n--\n\n"
    "A raw socket for capturing, one call at a time: create, ``bind``, ``ioctl(SIO_RCVALL)``,\n"
    "``receive``. ``winsockctl.Capture`` makes these calls for you.\n"
    "\n"
    "Args:\n"
    "    family: ``socket.AF_INET``, ``socket.AF_INET6``, or ``AF_UNSPEC`` for both.\n"
    "    protocol: ``None``, ``IPPROTO_IP``, or for AF_INET6 ``IPPROTO_IPV6`` (contract R2).\n"
    "    buffer_size: bytes between the system and the program, at least 1 MiB.\n"
    "    snaplen: bytes to keep of each datagram; ``None`` keeps it whole.\n"
    "    latency: seconds, 0.001 to 60, until datagrams are handed over although the block that\n"
    "        they are in is not full; under load four times as long, 0.05 at most.\n"
    "    filter: a sequence of classic BPF instructions ``(code, jt, jf, k)``, as\n"
    "        ``Filter.instructions``; what it refuses is not received. ``None`` wants everything.\n"
    "    fanout: the number, 0 to 65535, of a group of sockets that share the load (Linux).\n"
    "    backend: one of ``winsockctl.backends()``; ``None`` takes the best that the system\n"
    "        does not refuse.\n"
    "\n"
    "Raises:\n"
    "    TypeError, ValueError: for an argument of the wrong type or out of range.\n"
    "    WinsockPermissionError: WSAEACCES without the privilege to capture (R12).\n"
    "    WinsockError: WSAEINVAL for another protocol; WSAEMFILE; WSAENOBUFS; WSAEOPNOTSUPP\n"
    "        for ``fanout`` on Windows.\n"
    "\n"
    "Any thread may call ``close()`` at any time (R15). Linux: packet(7).");

static PyType_Slot raw_socket_slots[] = {
    {Py_tp_doc, (void *)raw_socket_doc}, {Py_tp_new, raw_socket_new},
    {Py_tp_dealloc, raw_socket_dealloc}, {Py_tp_repr, raw_socket_repr},
    {Py_tp_methods, raw_socket_methods}, {Py_tp_getset, raw_socket_getset},
    {Py_tp_members, raw_socket_members}, {0, NULL},
};

PyType_Spec raw_socket_spec = {
    .name = "winsockctl.RawSocket",
    .basicsize = sizeof(RawSocket),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = raw_socket_slots,
};
