/* Batch: the datagrams of one block, as read-only views onto its bytes.
 *
 * A view's exporter is a Datagram, which holds the Batch, which holds the block.
 */
#include "binding/binding.h"

#include <stdlib.h>
#include <string.h>

/* The last datagrams of a block that another batch owns, or those of them that a filter wants. */
typedef struct {
    block_t block;
    Batch *owner;
    bool has_records; /* its own, of those that are wanted */
    record_t records[];
} part_t;

static void
no_release(block_t *block)
{
    (void)block;
}

static block_t no_datagrams = {.bytes = (const uint8_t *)"", .release = no_release};

Batch *
batch_new(module_state_t *state)
{
    Batch *self = PyObject_New(Batch, state->batch_type);
    if (self != NULL) {
        self->block = &no_datagrams;
        self->weak_references = NULL;
    }
    return self;
}

void
batch_adopt(Batch *self, block_t *block)
{
    self->block = block;
}

static PyObject *
batch_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    return PyArg_ParseTupleAndKeywords(args, kwargs, ":Batch", names)
               ? (PyObject *)batch_new(PyType_GetModuleState(type))
               : NULL;
}

static void
part_release(block_t *block)
{
    part_t *self = (part_t *)block;
    Py_DECREF(self->owner);
    free(self);
}

Batch *
batch_behind(Batch *self, Py_ssize_t index, const filter_t *filter)
{
    Batch *behind = batch_new(state_of((PyObject *)self));
    size_t room = filter == NULL ? 0 : self->block->count - (size_t)index;
    part_t *part = behind == NULL ? NULL : malloc(sizeof *part + room * sizeof(record_t));
    if (part == NULL) {
        Py_XDECREF(behind);
        return behind == NULL ? NULL : (Batch *)PyErr_NoMemory();
    }
    part->block = *self->block;
    block_skip(&part->block, (size_t)index);
    if (room > 0) {
        memcpy(part->records, part->block.records, room * sizeof(record_t));
        part->block.records = part->records;
        block_filter(&part->block, filter);
    }
    part->block.release = part_release;
    part->has_records = filter != NULL;
    /* A part of a part is one of the owner, or they would form a chain without end. */
    const part_t *from = self->block->release == part_release ? (part_t *)self->block : NULL;
    bool needs_self = from == NULL || (from->has_records && !part->has_records);
    part->owner = (Batch *)Py_NewRef(needs_self ? self : from->owner);
    batch_adopt(behind, &part->block);
    return behind;
}

static void
batch_dealloc(Batch *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->weak_references != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    self->block->release(self->block);
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject *
batch_view(Batch *self, Py_ssize_t index)
{
    PyObject *exporter = datagram_new(state_of((PyObject *)self), self, index);
    PyObject *view = exporter == NULL ? NULL : PyMemoryView_FromObject(exporter);
    Py_XDECREF(exporter);
    return view;
}

static int
batch_getbuffer(Batch *self, Py_buffer *view, int flags)
{
    return PyBuffer_FillInfo(view, (PyObject *)self, (void *)self->block->bytes,
                             (Py_ssize_t)self->block->size, 1, flags);
}

/* -1 with an IndexError if there is no datagram at the absolute index. */
static Py_ssize_t
check_index(const Batch *self, Py_ssize_t index)
{
    if (index < 0 || index >= batch_length(self)) {
        PyErr_Format(PyExc_IndexError, "index out of range: the batch has %zd datagrams",
                     batch_length(self));
        return -1;
    }
    return index;
}

static PyObject *
batch_item(Batch *self, Py_ssize_t index)
{
    return check_index(self, index) < 0 ? NULL : batch_view(self, index);
}

static PyObject *
batch_slice(Batch *self, PyObject *slice)
{
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(slice, &start, &stop, &step) < 0) {
        return NULL;
    }
    Py_ssize_t count = PySlice_AdjustIndices(batch_length(self), &start, &stop, step);
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *view = batch_view(self, start + i * step);
        if (view == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, i, view);
    }
    return list;
}

/* The index of a subscript, negative ones counted from the end; -1 with an exception. */
static Py_ssize_t
batch_index(Batch *self, PyObject *key)
{
    Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (index == -1 && PyErr_Occurred()) {
        return -1;
    }
    return check_index(self, index < 0 ? index + batch_length(self) : index);
}

static PyObject *
batch_subscript(Batch *self, PyObject *key)
{
    if (PySlice_Check(key)) {
        return batch_slice(self, key);
    }
    Py_ssize_t index = batch_index(self, key);
    return index < 0 ? NULL : batch_view(self, index);
}

static PyObject *
batch_iter(Batch *self)
{
    return batch_iterator_new(state_of((PyObject *)self), self, false);
}

PyDoc_STRVAR(datagram_doc,
             "datagram($self, index, /)\n--\n\n"
             "Return the ``Datagram`` at an index; negative ones count from the end.\n\n"
             "Raises:\n    IndexError: if there is no such datagram.");

static PyObject *
batch_datagram(Batch *self, PyObject *key)
{
    Py_ssize_t index = batch_index(self, key);
    return index < 0 ? NULL : datagram_new(state_of((PyObject *)self), self, index);
}

PyDoc_STRVAR(datagrams_doc, "datagrams($self, /)\n--\n\n"
                            "Iterate over the ``Datagram`` records.");

static PyObject *
batch_datagrams(Batch *self, PyObject *Py_UNUSED(ignored))
{
    return batch_iterator_new(state_of((PyObject *)self), self, true);
}

static PyObject *
batch_get_buffer(Batch *self, void *Py_UNUSED(closure))
{
    return PyMemoryView_FromObject((PyObject *)self);
}

static PyObject *
batch_get_column(Batch *self, void *column)
{
    return column_view(state_of((PyObject *)self), self, column);
}

static PyObject *
batch_repr(Batch *self)
{
    return PyUnicode_FromFormat("<Batch of %zd datagrams, %llu bytes>", batch_length(self),
                                (unsigned long long)self->block->datagram_bytes);
}

PyDoc_STRVAR(write_to_doc,
             "write_to($self, recorder, /)\n--\n\n"
             "Write all datagrams with a ``Recorder``; return how many there were.\n\n"
             "Raises:\n    OSError, ValueError: as ``Recorder.write``.");

static PyObject *
batch_write_to(Batch *self, PyObject *recorder)
{
    return PyObject_CallMethod(recorder, "write", "O", self);
}

static PyMethodDef batch_methods[] = {
    {"datagram", (PyCFunction)batch_datagram, METH_O, datagram_doc},
    {"datagrams", (PyCFunction)batch_datagrams, METH_NOARGS, datagrams_doc},
    {"write_to", (PyCFunction)batch_write_to, METH_O, write_to_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef batch_getset[] = {
    {"buffer", (getter)batch_get_buffer, NULL,
     "All bytes of the block, a read-only memoryview; ``records`` tells where each datagram lies.\n"
     "Bytes between datagrams mean nothing.",
     NULL},
    {"records", (getter)batch_get_column, NULL,
     "One record a datagram, a read-only memoryview of shape (len,) whose items are structs of 32\n"
     "bytes; ``numpy.asarray`` makes it a structured array without copying. Fields:\n"
     "timestamp_ns (int64, since 1970 UTC), offset (uint64, of the IP header in ``buffer``),\n"
     "length and original_length (uint32, bytes), interface_index (uint32), flags (uint16,\n"
     "a ``RecordFlag``), direction (uint8, a ``Direction``), version (uint8, 4 or 6).",
     (void *)&column_records},
    {"timestamps_ns", (getter)batch_get_column, NULL,
     "When each datagram came, nanoseconds since 1970 UTC: a memoryview of int64, shape (len,).",
     (void *)&column_timestamps},
    {"offsets", (getter)batch_get_column, NULL,
     "Where each datagram's IP header lies in ``buffer``: a memoryview of uint64, shape (len,).",
     (void *)&column_offsets},
    {"lengths", (getter)batch_get_column, NULL,
     "Captured bytes of each datagram: a memoryview of uint32, shape (len,).",
     (void *)&column_lengths},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef batch_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Batch, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(
    batch_doc,
    "Batch()\n--\n\n"
    "Datagrams that were received together: a sequence of read-only memoryviews.\n"
    "\n"
    "A reader makes them; ``Batch()`` is an empty one, as of a read that nothing came to.\n"
    "\n"
    "Each view begins with the IP header and lies directly on the received bytes. Views\n"
    "and everything made from them stay valid for as long as they are held (contract\n"
    "R11); the memory of the batch goes back when the last of them goes. The ``obj`` of a view\n"
    "is its ``Datagram``.");

static PyType_Slot batch_slots[] = {
    {Py_tp_doc, (void *)batch_doc},     {Py_tp_new, batch_make},
    {Py_tp_dealloc, batch_dealloc},     {Py_tp_repr, batch_repr},
    {Py_tp_iter, batch_iter},           {Py_tp_methods, batch_methods},
    {Py_tp_getset, batch_getset},       {Py_tp_members, batch_members},
    {Py_sq_length, batch_length},       {Py_sq_item, batch_item},
    {Py_mp_length, batch_length},       {Py_mp_subscript, batch_subscript},
    {Py_bf_getbuffer, batch_getbuffer}, {0, NULL},
};

PyType_Spec batch_spec = {
    .name = "winsockctl.Batch",
    .basicsize = sizeof(Batch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_SEQUENCE,
    .slots = batch_slots,
};
