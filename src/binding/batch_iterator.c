/* The iterator over a Batch. */
#include "binding/binding.h"

typedef struct {
    PyObject_HEAD
    Batch *batch; /* NULL behind the last datagram */
    Py_ssize_t next;
    bool datagrams;
} BatchIterator;

PyObject *
batch_iterator_new(module_state_t *state, Batch *batch, bool datagrams)
{
    BatchIterator *self = PyObject_New(BatchIterator, state->batch_iterator_type);
    if (self != NULL) {
        self->batch = (Batch *)Py_NewRef(batch);
        self->next = 0;
        self->datagrams = datagrams;
    }
    return (PyObject *)self;
}

static void
batch_iterator_dealloc(BatchIterator *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->batch);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
batch_iterator_next(BatchIterator *self)
{
    if (self->batch == NULL) {
        return NULL;
    }
    if (self->next >= batch_length(self->batch)) {
        Py_CLEAR(self->batch);
        return NULL;
    }
    Py_ssize_t index = self->next++;
    return self->datagrams ? datagram_new(state_of((PyObject *)self), self->batch, index)
                           : batch_view(self->batch, index);
}

static PyObject *
batch_iterator_length_hint(BatchIterator *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSsize_t(self->batch == NULL ? 0 : batch_length(self->batch) - self->next);
}

static PyMethodDef batch_iterator_methods[] = {
    {"__length_hint__", (PyCFunction)batch_iterator_length_hint, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot batch_iterator_slots[] = {
    {Py_tp_dealloc, batch_iterator_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, batch_iterator_next},
    {Py_tp_methods, batch_iterator_methods},
    {0, NULL},
};

PyType_Spec batch_iterator_spec = {
    .name = "winsockctl._winsockctl.BatchIterator",
    .basicsize = sizeof(BatchIterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = batch_iterator_slots,
};
