#include "binding/savefile_reader.h"

#include <stdlib.h>

#include "core/winsock_errors.h"

#define PIECE ((Py_ssize_t)256 << 10) /* bytes to ask a stream for */
#define USUAL_BATCH 1024              /* datagrams */
#define LARGEST_BATCH 65536
#define HEAD_STEPS 10000
#define NANOSECONDS_PER_MICROSECOND 1000

typedef struct {
    block_t block;
    PyObject *segment;
    record_t records[];
} segment_block_t;

static void
segment_block_release(block_t *block)
{
    segment_block_t *self = (segment_block_t *)block;
    Py_XDECREF(self->segment);
    free(self);
}

/* Of no segment yet, and with room for so many records. */
static segment_block_t *
segment_block_new(size_t room)
{
    segment_block_t *self = malloc(sizeof *self + room * sizeof(record_t));
    if (self != NULL) {
        self->block = (block_t){
            .bytes = (const uint8_t *)"",
            .records = self->records,
            .release = segment_block_release,
        };
        self->segment = NULL;
    }
    return self;
}

static segment_block_t *
segment_block_shrink(segment_block_t *self)
{
    segment_block_t *smaller = realloc(self, sizeof *self + self->block.count * sizeof(record_t));
    self = smaller == NULL ? self : smaller;
    self->block.records = self->records;
    return self;
}

static int
fail_closed(SavefileReader *self, const char *call, int code)
{
    failure_t failure;
    fail(&failure, call, code,
         code == WINSOCK_WSAEINTR ? "the savefile was closed meanwhile"
                                  : "the savefile is closed: open it again");
    raise_failure(state_of((PyObject *)self), &failure);
    return -1;
}

/* Makes what is left of the segment, and room for `size` bytes behind it, the new segment. */
static int
grow_segment(SavefileReader *self, Py_ssize_t size)
{
    Py_ssize_t rest = (Py_ssize_t)self->window.size;
    if (self->segment != NULL && Py_REFCNT(self->segment) == 1) {
        memmove(self->segment_bytes, self->window.bytes, (size_t)rest);
        self->window.bytes = self->segment_bytes;
        if (PyByteArray_Resize(self->segment, rest + size) < 0) {
            return -1;
        }
    } else {
        PyObject *segment = PyByteArray_FromStringAndSize(NULL, rest + size);
        if (segment == NULL) {
            return -1;
        }
        if (rest > 0) {
            memcpy(PyByteArray_AS_STRING(segment), self->window.bytes, (size_t)rest);
        }
        Py_XSETREF(self->segment, segment);
    }
    self->segment_bytes = (uint8_t *)PyByteArray_AS_STRING(self->segment);
    self->window.bytes = self->segment_bytes;
    return 0;
}

/* Gets the next bytes of the stream into the window. */
static int
read_more(SavefileReader *self)
{
    if (self->closing) {
        return fail_closed(self, "receive", WINSOCK_WSAEINTR);
    }
    PyObject *piece = PyObject_CallFunction(self->read, "n", PIECE);
    if (piece == NULL) {
        /* A closed file is read no further: ValueError. */
        if (self->closing && PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear();
            return fail_closed(self, "receive", WINSOCK_WSAEINTR);
        }
        return -1;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Format(PyExc_TypeError,
                     "a savefile is read from a file that is binary and waits for its bytes; "
                     "read() returned %.100s",
                     Py_TYPE(piece)->tp_name);
        Py_DECREF(piece);
        return -1;
    }
    int result = 0;
    if (view.len == 0) {
        self->window.at_end = true;
    } else if (grow_segment(self, view.len) < 0) {
        result = -1;
    } else {
        memcpy(self->segment_bytes + self->window.size, view.buf, (size_t)view.len);
        self->window.size += (size_t)view.len;
    }
    PyBuffer_Release(&view);
    Py_DECREF(piece);
    return result;
}

/* Reads what comes before the first packet. -1 with an exception. */
static int
read_head(SavefileReader *self, module_state_t *state)
{
    for (int i = 0; i < HEAD_STEPS; i++) {
        savefile_window_t window = self->window;
        savefile_packet_t packet;
        uint64_t position = self->reader.position;
        switch (savefile_reader_next(&self->reader, &self->window, &packet)) {
        case SAVEFILE_PACKET:
            self->window = window;
            self->reader.position = position;
            return 0;
        case SAVEFILE_OTHER:
            break;
        case SAVEFILE_END:
            return 0;
        case SAVEFILE_NEED_MORE:
            if (self->reader.interface_count > 0) {
                return 0;
            }
            if (read_more(self) < 0) {
                return -1;
            }
            break;
        case SAVEFILE_FAULT:
            raise_savefile_fault(state, self->reader.fault.reason, self->reader.fault.offset);
            return -1;
        case SAVEFILE_NO_MEMORY:
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

static int
open_source(SavefileReader *self, PyObject *source)
{
    if (!PyObject_CheckBuffer(source)) {
        self->read = Py_NewRef(source);
        self->buffer_size = (uint64_t)PIECE;
        return 0;
    }
    self->segment = PyMemoryView_FromObject(source);
    if (self->segment == NULL) {
        return -1;
    }
    const Py_buffer *buffer = PyMemoryView_GET_BUFFER(self->segment);
    if (!PyBuffer_IsContiguous(buffer, 'C')) {
        PyErr_SetString(PyExc_BufferError, "a savefile in memory must be contiguous");
        return -1;
    }
    self->segment_bytes = buffer->buf;
    self->window = (savefile_window_t){buffer->buf, (size_t)buffer->len, true};
    self->buffer_size = (uint64_t)buffer->len;
    return 0;
}

static PyObject *
savefile_reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"source", "filter", "snaplen", "batch_size", NULL};
    PyObject *source, *filter_object = Py_None, *batch_object = NULL;
    uint32_t snaplen = UINT32_MAX;
    long long batch_size = USUAL_BATCH;
    filter_t *filter;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OO&O:SavefileReader", names, &source,
                                     &filter_object, parse_snaplen, &snaplen, &batch_object) ||
        (batch_object != NULL &&
         parse_integer(batch_object, 1, LARGEST_BATCH, "batch_size must be 1 to 65536 datagrams",
                       &batch_size) < 0) ||
        parse_filter(filter_object, &filter) < 0) {
        return NULL;
    }
    SavefileReader *self = (SavefileReader *)type->tp_alloc(type, 0);
    if (self == NULL) {
        free(filter);
        return NULL;
    }
    self->filter = filter;
    self->selection = (savefile_selection_t){.filter = filter, .snaplen = snaplen};
    self->batch_size = (size_t)batch_size;
    self->receive_lock = PyThread_allocate_lock();
    self->parse_lock = PyThread_allocate_lock();
    if (self->receive_lock == NULL || self->parse_lock == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    if (open_source(self, source) < 0 || read_head(self, PyType_GetModuleState(type)) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
savefile_reader_traverse(SavefileReader *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->read);
    Py_VISIT(self->segment);
    Py_VISIT(self->waited);
    return 0;
}

/* Lets go of the file; nobody is inside receive(). */
static int
savefile_reader_clear_references(SavefileReader *self)
{
    self->window = (savefile_window_t){.at_end = true};
    Py_CLEAR(self->read);
    Py_CLEAR(self->segment);
    Py_CLEAR(self->waited);
    return 0;
}

static void
savefile_reader_dealloc(SavefileReader *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weak_references != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    savefile_reader_clear_references(self);
    savefile_reader_clear(&self->reader);
    free(self->filter);
    if (self->receive_lock != NULL) {
        PyThread_free_lock(self->receive_lock);
    }
    if (self->parse_lock != NULL) {
        PyThread_free_lock(self->parse_lock);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

/* 1 with receive_lock, 0 if it was not to be had in time, -1 with an exception. */
static int
begin_receive(SavefileReader *self, int64_t deadline_ns)
{
    if (self->receiving == PyThread_get_thread_ident()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a savefile cannot be read by what its own reading has called");
        return -1;
    }
    for (;;) {
        PyLockStatus status;
        PY_TIMEOUT_T patience = -1; /* microseconds, for ever */
        if (deadline_ns != INT64_MAX) {
            int64_t rest = deadline_ns - platform_now_ns();
            patience = rest > 0 ? rest / NANOSECONDS_PER_MICROSECOND : 0;
        }
        Py_BEGIN_ALLOW_THREADS
        status = PyThread_acquire_lock_timed(self->receive_lock, patience, 1);
        Py_END_ALLOW_THREADS
        if (status == PY_LOCK_ACQUIRED) {
            self->receiving = PyThread_get_thread_ident();
            return 1;
        }
        if (status == PY_LOCK_FAILURE) {
            return 0;
        }
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
}

static void
end_receive(SavefileReader *self)
{
    if (self->closing) {
        savefile_reader_clear_references(self);
    }
    self->receiving = 0;
    PyThread_release_lock(self->receive_lock);
}

/* Drops what is not wanted by a filter that another thread has set since the block was filled. */
static void
refilter(SavefileReader *self, block_t *block)
{
    savefile_reader_lock(self);
    block_filter(block, self->filter);
    savefile_reader_unlock(self);
}

/* Fills the block until there is something to tell. 0, or -1 with an exception and nothing in the
 * block. */
static int
fill(SavefileReader *self, block_t *block)
{
    module_state_t *state = state_of((PyObject *)self);
    for (;;) {
        enum savefile_step step;
        uint64_t changes = self->filter_changes;
        Py_BEGIN_ALLOW_THREADS
        PyThread_acquire_lock(self->parse_lock, WAIT_LOCK);
        step =
            savefile_fill(&self->reader, &self->window, &self->selection, block, self->batch_size);
        PyThread_release_lock(self->parse_lock);
        Py_END_ALLOW_THREADS
        if (block->count > 0 && changes != self->filter_changes) {
            refilter(self, block);
        }
        /* What comes behind the datagrams that are here is met again by the next call. */
        if (block->count > 0) {
            return 0;
        }
        switch (step) {
        case SAVEFILE_PACKET:
            return 0;
        case SAVEFILE_OTHER:
            if (PyErr_CheckSignals() < 0) {
                return -1;
            }
            break;
        case SAVEFILE_NEED_MORE:
            if (read_more(self) < 0) {
                return -1;
            }
            break;
        case SAVEFILE_END:
            self->ended = true;
            return 0;
        case SAVEFILE_FAULT:
            raise_savefile_fault(state, self->reader.fault.reason, self->reader.fault.offset);
            return -1;
        case SAVEFILE_NO_MEMORY:
            PyErr_NoMemory();
            return -1;
        }
    }
}

/* With receive_lock. */
static int
receive_into(SavefileReader *self, Batch *batch)
{
    if (self->closing) {
        return fail_closed(self, "receive", WINSOCK_WSAENOTSOCK);
    }
    segment_block_t *block = segment_block_new(self->batch_size);
    if (block == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int result = fill(self, &block->block);
    if (result < 0 || block->block.count == 0) {
        block->block.release(&block->block);
        return result;
    }
    block = segment_block_shrink(block);
    block->segment = Py_NewRef(self->segment);
    batch_adopt(batch, &block->block);
    return 0;
}

/* With receive_lock. 1 with what wait() left in the place of the batch, -1 with its exception, 0 if
 * there is nothing. */
static int
take_waited(SavefileReader *self, Batch **batch)
{
    PyObject *waited = self->waited;
    self->waited = NULL;
    if (waited == NULL) {
        return 0;
    }
    if (PyExceptionInstance_Check(waited)) {
        PyErr_SetRaisedException(waited);
        return -1;
    }
    if (self->waited_changes != self->filter_changes) {
        refilter(self, ((Batch *)waited)->block);
    }
    if (batch_length((Batch *)waited) == 0) {
        Py_DECREF(waited);
        return 0;
    }
    Py_SETREF(*batch, (Batch *)waited);
    return 1;
}

PyDoc_STRVAR(
    receive_doc,
    "receive($self, /, timeout=None)\n--\n\n"
    "Return the next datagrams as a ``Batch``; an empty one if there are no more (``ended``).\n"
    "\n"
    "Args:\n"
    "    timeout: seconds to wait while another thread receives; the file itself is read until\n"
    "        it gives something.\n"
    "\n"
    "Raises:\n"
    "    SavefileError: behind the last whole packet, if there is something wrong with the file.\n"
    "    WinsockError: WSAENOTSOCK if the reader is closed; WSAEINTR if another thread closes it\n"
    "        meanwhile (contract R15).");

static PyObject *
savefile_reader_receive(SavefileReader *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline_ns;
    if (parse_timeout(args, kwargs, "|O:receive", &deadline_ns) < 0) {
        return NULL;
    }
    Batch *batch = batch_new(PyType_GetModuleState(Py_TYPE(self)));
    if (batch == NULL) {
        return NULL;
    }
    int result = begin_receive(self, deadline_ns);
    if (result > 0) {
        result = take_waited(self, &batch);
        if (result == 0) {
            result = receive_into(self, batch);
        }
        end_receive(self);
    }
    if (result < 0) {
        Py_CLEAR(batch);
        return NULL;
    }
    self->received += batch->block->count;
    self->truncated += batch->block->truncated;
    self->bytes += batch->block->datagram_bytes;
    return (PyObject *)batch;
}

/* With receive_lock. 1 if receive() has something to tell, -1 with an exception. */
static int
receive_ahead(SavefileReader *self)
{
    Batch *batch = batch_new(state_of((PyObject *)self));
    if (batch == NULL) {
        return -1;
    }
    uint64_t changes = self->filter_changes;
    int result = receive_into(self, batch);
    if (result == 0 && batch_length(batch) > 0) {
        self->waited = Py_NewRef(batch);
        self->waited_changes = changes;
    }
    Py_DECREF(batch);
    if (result < 0 && !self->closing && PyErr_ExceptionMatches(PyExc_Exception)) {
        self->waited = PyErr_GetRaisedException();
        result = 0;
    }
    return result < 0 ? -1 : 1;
}

PyDoc_STRVAR(wait_doc,
             "wait($self, /, timeout=None)\n--\n\n"
             "Read until ``receive()`` has something to tell at once: datagrams, the end, or a\n"
             "failure. It stays with the reader until somebody receives it.\n"
             "\n"
             "Args:\n"
             "    timeout: seconds to wait while another thread receives; 0 does not read either.\n"
             "\n"
             "Returns:\n"
             "    Whether there is something to tell.\n"
             "\n"
             "Raises:\n"
             "    WinsockError: as ``receive()`` does.");

static PyObject *
savefile_reader_wait(SavefileReader *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline_ns;
    if (parse_timeout(args, kwargs, "|O:wait", &deadline_ns) < 0) {
        return NULL;
    }
    int result = begin_receive(self, deadline_ns);
    if (result > 0) {
        if (self->closing) {
            result = fail_closed(self, "receive", WINSOCK_WSAENOTSOCK);
        } else if (self->waited == NULL && !self->ended) {
            result = platform_now_ns() < deadline_ns ? receive_ahead(self) : 0;
        }
        end_receive(self);
    }
    return result < 0 ? NULL : PyBool_FromLong(result);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Let go of the file. Batches that were received stay valid.");

static PyObject *
savefile_reader_close(SavefileReader *self, PyObject *Py_UNUSED(ignored))
{
    self->closing = true;
    /* Whoever is inside receive() lets go of it instead. */
    if (PyThread_acquire_lock(self->receive_lock, NOWAIT_LOCK)) {
        savefile_reader_clear_references(self);
        PyThread_release_lock(self->receive_lock);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    set_filter_doc,
    "set_filter($self, filter, /)\n--\n\n"
    "Change the filter, also while another thread receives: a packet that is read from now\n"
    "on must pass it. ``None`` wants everything.\n"
    "\n"
    "Raises:\n"
    "    TypeError, ValueError: for a filter of the wrong type or one that cannot run.\n"
    "    WinsockError: WSAENOTSOCK if the reader is closed.");

static PyObject *
savefile_reader_set_filter(SavefileReader *self, PyObject *object)
{
    filter_t *filter;
    if (self->closing) {
        fail_closed(self, "set_filter", WINSOCK_WSAENOTSOCK);
        return NULL;
    }
    if (parse_filter(object, &filter) < 0) {
        return NULL;
    }
    savefile_reader_lock(self);
    filter_t *before = self->filter;
    self->filter = filter;
    self->selection.filter = filter;
    self->filter_changes++;
    savefile_reader_unlock(self);
    free(before);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fileno_doc, "fileno($self, /)\n--\n\n"
                         "Return -1: there is no socket.");

static PyObject *
savefile_reader_fileno(SavefileReader *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(-1);
}

GUARDED_METHOD(SavefileReader, savefile_reader_set_filter)
GUARDED_METHOD(SavefileReader, savefile_reader_close)
GUARDED_METHOD(SavefileReader, savefile_reader_statistics)
GUARDED_KEYWORDS(SavefileReader, savefile_reader_receive)
GUARDED_KEYWORDS(SavefileReader, savefile_reader_wait)

static PyMethodDef savefile_reader_methods[] = {
    {"receive", (PyCFunction)(void (*)(void))savefile_reader_receive_guarded,
     METH_VARARGS | METH_KEYWORDS, receive_doc},
    {"wait", (PyCFunction)(void (*)(void))savefile_reader_wait_guarded,
     METH_VARARGS | METH_KEYWORDS, wait_doc},
    {"set_filter", (PyCFunction)savefile_reader_set_filter_guarded, METH_O, set_filter_doc},
    {"statistics", (PyCFunction)savefile_reader_statistics_guarded, METH_NOARGS,
     savefile_reader_statistics_doc},
    {"fileno", (PyCFunction)savefile_reader_fileno, METH_NOARGS, fileno_doc},
    {"close", (PyCFunction)savefile_reader_close_guarded, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef savefile_reader_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(SavefileReader, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(savefile_reader_doc,
             "SavefileReader(source, *, filter=None, snaplen=None, batch_size=1024)\n--\n\n"
             "What ``winsockctl.open_savefile`` reads with.\n"
             "\n"
             "Args:\n"
             "    source: the bytes of the file, or a callable that returns up to so many of its\n"
             "        next bytes, and none at its end.\n"
             "    filter, snaplen, batch_size: as of ``winsockctl.open_savefile``.");

static PyType_Slot savefile_reader_slots[] = {
    {Py_tp_doc, (void *)savefile_reader_doc},
    {Py_tp_new, savefile_reader_new},
    {Py_tp_dealloc, savefile_reader_dealloc},
    {Py_tp_traverse, savefile_reader_traverse},
    {Py_tp_clear, savefile_reader_clear_references},
    {Py_tp_methods, savefile_reader_methods},
    {Py_tp_getset, savefile_reader_getset},
    {Py_tp_members, savefile_reader_members},
    {0, NULL},
};

PyType_Spec savefile_reader_spec = {
    .name = "winsockctl._winsockctl.SavefileReader",
    .basicsize = sizeof(SavefileReader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = savefile_reader_slots,
};
