/* Datagram: one datagram of a batch with what is known about it. */
#include "binding/binding.h"

PyObject *
datagram_new(module_state_t *state, Batch *batch, Py_ssize_t index)
{
    Datagram *self = PyObject_New(Datagram, state->datagram_type);
    if (self != NULL) {
        self->batch = (Batch *)Py_NewRef(batch);
        self->index = index;
    }
    return (PyObject *)self;
}

static void
datagram_dealloc(Datagram *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(self->batch);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
datagram_get_data(Datagram *self, void *Py_UNUSED(closure))
{
    return batch_view(self->batch, self->index);
}

static PyObject *
datagram_get_timestamp(Datagram *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(datagram_record(self)->timestamp_ns);
}

static PyObject *
datagram_get_length(Datagram *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(datagram_record(self)->length);
}

static PyObject *
datagram_get_original_length(Datagram *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(datagram_record(self)->original_length);
}

static PyObject *
datagram_get_truncated(Datagram *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(datagram_record(self)->flags & RECORD_TRUNCATED);
}

static PyObject *
datagram_get_rebuilt(Datagram *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(datagram_record(self)->flags & RECORD_REBUILT);
}

static PyObject *
datagram_get_flags(Datagram *self, void *Py_UNUSED(closure))
{
    module_state_t *state = state_of((PyObject *)self);
    return PyObject_CallFunction(state->record_flag, "H", datagram_record(self)->flags);
}

static PyObject *
datagram_get_direction(Datagram *self, void *Py_UNUSED(closure))
{
    module_state_t *state = state_of((PyObject *)self);
    return Py_NewRef(PyTuple_GET_ITEM(state->directions, datagram_record(self)->direction));
}

static PyObject *
datagram_get_family(Datagram *self, void *Py_UNUSED(closure))
{
    module_state_t *state = state_of((PyObject *)self);
    return Py_NewRef(datagram_record(self)->version == 4 ? state->family_ipv4 : state->family_ipv6);
}

static PyObject *
datagram_get_interface_index(Datagram *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(datagram_record(self)->interface_index);
}

static Py_ssize_t
datagram_length(Datagram *self)
{
    return (Py_ssize_t)datagram_record(self)->length;
}

static int
datagram_getbuffer(Datagram *self, Py_buffer *view, int flags)
{
    const record_t *record = datagram_record(self);
    return PyBuffer_FillInfo(view, (PyObject *)self,
                             (void *)(self->batch->block->bytes + record->offset),
                             (Py_ssize_t)record->length, 1, flags);
}

static PyObject *
datagram_repr(Datagram *self)
{
    const record_t *record = datagram_record(self);
    return PyUnicode_FromFormat("<Datagram IPv%d, %u of %u bytes>", (int)record->version,
                                (unsigned)record->length, (unsigned)record->original_length);
}

static PyGetSetDef datagram_getset[] = {
    {"data", (getter)datagram_get_data, NULL,
     "The bytes, IP header first: a read-only memoryview that stays valid.", NULL},
    {"timestamp_ns", (getter)datagram_get_timestamp, NULL,
     "When it came, nanoseconds since 1970 UTC.", NULL},
    {"length", (getter)datagram_get_length, NULL, "Bytes captured: ``len(data)``.", NULL},
    {"original_length", (getter)datagram_get_original_length, NULL,
     "Bytes that it had on the wire.", NULL},
    {"truncated", (getter)datagram_get_truncated, NULL,
     "Whether only the first ``length`` bytes were kept (contract R11).", NULL},
    {"rebuilt", (getter)datagram_get_rebuilt, NULL,
     "Whether the IPv6 header was made anew, because the system kept it back (contract R11).",
     NULL},
    {"flags", (getter)datagram_get_flags, NULL,
     "All of that, and which fields of a rebuilt header are unknown: a ``RecordFlag``.", NULL},
    {"direction", (getter)datagram_get_direction, NULL, "Which way it went: a ``Direction``.",
     NULL},
    {"family", (getter)datagram_get_family, NULL, "``socket.AF_INET`` or ``socket.AF_INET6``.",
     NULL},
    {"interface_index", (getter)datagram_get_interface_index, NULL,
     "The index of the interface that it passed; 0 where there is none.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(datagram_doc,
             "One datagram and what is known about it; ``bytes(datagram)`` copies its bytes.");

static PyType_Slot datagram_slots[] = {
    {Py_tp_doc, (void *)datagram_doc},
    {Py_tp_dealloc, datagram_dealloc},
    {Py_tp_repr, datagram_repr},
    {Py_tp_getset, datagram_getset},
    {Py_sq_length, datagram_length},
    {Py_bf_getbuffer, datagram_getbuffer},
    {0, NULL},
};

PyType_Spec datagram_spec = {
    .name = "winsockctl.Datagram",
    .basicsize = sizeof(Datagram),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = datagram_slots,
};
