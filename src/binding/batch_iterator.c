/* The iterator over a Batch. */
#include "binding/binding.h"

#include <stdlib.h>

typedef struct {
    PyObject_HEAD
    Batch *batch; /* NULL behind the last datagram */
    Py_ssize_t next;
    bool datagrams;
    PyObject *views[2]; /* they take turns: the variable of a loop still holds the last one */
} BatchIterator;

PyObject *
batch_iterator_new(module_state_t *state, Batch *batch, bool datagrams)
{
    BatchIterator *self = PyObject_New(BatchIterator, state->batch_iterator_type);
    if (self != NULL) {
        self->batch = (Batch *)Py_NewRef(batch);
        self->next = 0;
        self->datagrams = datagrams;
        self->views[0] = self->views[1] = NULL;
    }
    return (PyObject *)self;
}

static void
clear(BatchIterator *self)
{
    Py_CLEAR(self->views[0]);
    Py_CLEAR(self->views[1]);
    Py_CLEAR(self->batch);
}

static void
batch_iterator_dealloc(BatchIterator *self)
{
    PyTypeObject *type = Py_TYPE(self);
    clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Making a view may run the garbage collector, and dropping the last one a weak reference's
 * callback: both may use up and drop this very iterator. */
static PyObject *
next_new_view(BatchIterator *self, Py_ssize_t index)
{
    Py_INCREF(self);
    PyObject *view = batch_view(self->batch, index);
    if (view != NULL && self->batch != NULL) {
        Py_XSETREF(self->views[index & 1], Py_NewRef(view));
    }
    Py_DECREF(self);
    return view;
}

static PyObject *
batch_iterator_next(BatchIterator *self)
{
    if (self->batch == NULL) {
        return NULL;
    }
    if (self->next >= batch_length(self->batch)) {
        clear(self);
        return NULL;
    }
    Py_ssize_t index = self->next++;
    if (self->datagrams) {
        return datagram_new(state_of((PyObject *)self), self->batch, index);
    }
    PyObject *view = self->views[index & 1];
    if (view != NULL && recycled_view_move(view, index)) {
        return Py_NewRef(view);
    }
    return next_new_view(self, index);
}

static PyObject *
batch_iterator_length_hint(BatchIterator *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSsize_t(self->batch == NULL ? 0 : batch_length(self->batch) - self->next);
}

PyDoc_STRVAR(rest_doc,
             "rest($self, /)\n--\n\n"
             "End the iteration and return what was left of it as a ``Batch``, which may\n"
             "be empty, or None if it had ended before.");

static PyObject *
batch_iterator_rest(BatchIterator *self, PyObject *Py_UNUSED(ignored))
{
    if (self->batch == NULL) {
        Py_RETURN_NONE;
    }
    Batch *rest = batch_behind(self->batch, self->next, NULL);
    if (rest != NULL) {
        self->next = batch_length(self->batch); /* whatever the last of a view may call */
        clear(self);
    }
    return (PyObject *)rest;
}

PyDoc_STRVAR(select_doc,
             "select($self, filter, /)\n--\n\n"
             "Go on with those datagrams only that a filter wants, as of ``RawSocket``.");

static PyObject *
batch_iterator_select(BatchIterator *self, PyObject *object)
{
    filter_t *filter;
    if (parse_filter(object, &filter) < 0) {
        return NULL;
    }
    if (filter != NULL && self->batch != NULL) {
        Batch *old = self->batch;
        Batch *wanted = batch_behind(old, self->next, filter);
        if (wanted == NULL) {
            free(filter);
            return NULL;
        }
        self->batch = wanted;
        self->next = 0;
        Py_CLEAR(self->views[0]);
        Py_CLEAR(self->views[1]);
        Py_DECREF(old);
    }
    free(filter);
    Py_RETURN_NONE;
}

GUARDED_METHOD(BatchIterator, batch_iterator_length_hint)
GUARDED_METHOD(BatchIterator, batch_iterator_rest)
GUARDED_METHOD(BatchIterator, batch_iterator_select)

static PyObject *
batch_iterator_next_guarded(BatchIterator *self)
{
    PyObject *item;
    Py_BEGIN_CRITICAL_SECTION((PyObject *)self);
    item = batch_iterator_next(self);
    Py_END_CRITICAL_SECTION();
    return item;
}

static PyMethodDef batch_iterator_methods[] = {
    {"select", (PyCFunction)batch_iterator_select_guarded, METH_O, select_doc},
    {"rest", (PyCFunction)batch_iterator_rest_guarded, METH_NOARGS, rest_doc},
    {"__length_hint__", (PyCFunction)batch_iterator_length_hint_guarded, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot batch_iterator_slots[] = {
    {Py_tp_dealloc, batch_iterator_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, batch_iterator_next_guarded},
    {Py_tp_methods, batch_iterator_methods},
    {0, NULL},
};

PyType_Spec batch_iterator_spec = {
    .name = "winsockctl._winsockctl.BatchIterator",
    .basicsize = sizeof(BatchIterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = batch_iterator_slots,
};
