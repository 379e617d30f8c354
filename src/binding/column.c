/* Column: exports the table of a batch's records, or one member of each record. */
#include "binding/binding.h"

struct column_layout {
    size_t offset; /* in record_t */
    Py_ssize_t item_size;
    char *format; /* PEP 3118 */
};

const column_layout_t column_records = {
    0,
    sizeof(record_t),
    "T{=q:timestamp_ns:=Q:offset:=I:length:=I:original_length:=I:interface_index:=H:flags:"
    "=B:direction:=B:version:}",
};
_Static_assert(sizeof(record_t) == 32, "the format describes 32 bytes");

const column_layout_t column_timestamps = {offsetof(record_t, timestamp_ns), 8, "q"};
const column_layout_t column_offsets = {offsetof(record_t, offset), 8, "Q"};
const column_layout_t column_lengths = {offsetof(record_t, length), 4, "I"};

typedef struct {
    PyObject_HEAD
    Batch *batch;
    const column_layout_t *layout;
    Py_ssize_t shape;
    Py_ssize_t stride; /* bytes */
} Column;

PyObject *
column_view(module_state_t *state, Batch *batch, const column_layout_t *layout)
{
    Column *self = PyObject_New(Column, state->column_type);
    if (self == NULL) {
        return NULL;
    }
    self->batch = (Batch *)Py_NewRef(batch);
    self->layout = layout;
    self->shape = batch_length(batch);
    self->stride = sizeof(record_t);
    PyObject *view = PyMemoryView_FromObject((PyObject *)self);
    Py_DECREF(self);
    return view;
}

static void
column_dealloc(Column *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(self->batch);
    type->tp_free(self);
    Py_DECREF(type);
}

static int
column_getbuffer(Column *self, Py_buffer *view, int flags)
{
    const column_layout_t *layout = self->layout;
    if ((flags & PyBUF_WRITABLE) == PyBUF_WRITABLE || (flags & PyBUF_STRIDES) != PyBUF_STRIDES) {
        PyErr_SetString(PyExc_BufferError, "a column is read-only and has strides");
        view->obj = NULL;
        return -1;
    }
    *view = (Py_buffer){
        .buf = (uint8_t *)self->batch->block->records + (self->shape > 0 ? layout->offset : 0),
        .obj = Py_NewRef(self),
        .len = self->shape * layout->item_size,
        .itemsize = layout->item_size,
        .readonly = 1,
        .ndim = 1,
        .format = flags & PyBUF_FORMAT ? layout->format : NULL,
        .shape = &self->shape,
        .strides = &self->stride,
    };
    return 0;
}

static PyType_Slot column_slots[] = {
    {Py_tp_dealloc, column_dealloc},
    {Py_bf_getbuffer, column_getbuffer},
    {0, NULL},
};

PyType_Spec column_spec = {
    .name = "winsockctl._winsockctl.Column",
    .basicsize = sizeof(Column),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = column_slots,
};
