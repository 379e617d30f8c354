/* A memoryview that is used again: what a loop over a batch saves is the making of three objects.
 *
 * memoryview has no call for this, so the fields of its struct (cpython/memoryobject.h) are set.
 * That is sound under the GIL while nobody else can see the view, its managed buffer or its
 * Datagram: whatever is derived from one of them (a slice, an array, an iterator) holds a reference
 * to it.
 */
#include "binding/binding.h"

#if !defined(Py_GIL_DISABLED) && PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x03100000

/* A view that was released has no export of its managed buffer, and that no Datagram. */
static bool
is_ours_alone(PyMemoryViewObject *view)
{
    return Py_REFCNT(view) == 1 && view->hash == -1 && view->weakreflist == NULL &&
           Py_REFCNT(view->mbuf) == 1 && view->mbuf->exports == 1 &&
           Py_REFCNT(view->mbuf->master.obj) == 1;
}

bool
recycled_view_move(PyObject *object, Py_ssize_t index)
{
    PyMemoryViewObject *view = (PyMemoryViewObject *)object;
    if (!is_ours_alone(view)) {
        return false;
    }
    Py_buffer *master = &view->mbuf->master;
    Datagram *datagram = (Datagram *)master->obj;
    datagram->index = index;
    const record_t *record = datagram_record(datagram);
    view->view.buf = master->buf = (void *)(datagram->batch->block->bytes + record->offset);
    view->view.len = view->view.shape[0] = master->len = (Py_ssize_t)record->length;
    return true;
}

#else

bool
recycled_view_move(PyObject *Py_UNUSED(view), Py_ssize_t Py_UNUSED(index))
{
    return false;
}

#endif
