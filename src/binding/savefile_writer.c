/* SavefileWriter: batches into a pcap file, without the GIL and without an object per datagram. */
#include "binding/binding.h"

#include <stdlib.h>

#include "core/savefile.h"

/* One write takes so much, or one datagram if that is larger. */
#define USUAL_BUFFER ((size_t)256 << 10)

typedef struct {
    PyObject_HEAD
    int descriptor;
    PyThread_type_lock lock; /* guards all that follows; held without the GIL */
    PyThreadState *thread;   /* of the one that writes without the GIL */
    unsigned long writing;   /* its identifier, 0 if nobody writes */
    uint64_t size;           /* bytes in the file, up to the last whole datagram */
    uint8_t *buffer;         /* begins with a whole record (or the file's header) */
    size_t room;
    size_t filled;
} SavefileWriter;

/* Bytes of the first `written` ones of the buffer that are whole records. */
static size_t
whole_records(const SavefileWriter *self, size_t written)
{
    size_t whole = 0;
    while (whole + SAVEFILE_RECORD_HEADER_SIZE <= written) {
        uint32_t length;
        memcpy(&length, self->buffer + whole + 8, sizeof length);
        if (length > written - whole - SAVEFILE_RECORD_HEADER_SIZE) {
            break;
        }
        whole += SAVEFILE_RECORD_HEADER_SIZE + length;
    }
    return whole;
}

/* Without the GIL. After a failure the file ends with its last whole datagram. -1 with `failure`
 * set, or with a Python exception from a signal handler and failure->call NULL. */
static int
flush(SavefileWriter *self, failure_t *failure)
{
    size_t written = 0;
    failure->call = NULL;
    while (written < self->filled) {
        int64_t count = platform_write(self->descriptor, self->buffer + written,
                                       self->filled - written, failure);
        bool stop = count < 0;
        written += stop ? 0 : (size_t)count;
        if (!stop && written < self->filled) {
            /* A write that stops short may have been interrupted by a signal. */
            PyEval_RestoreThread(self->thread);
            stop = PyErr_CheckSignals() < 0;
            self->thread = PyEval_SaveThread();
        }
        if (stop) {
            size_t whole = whole_records(self, written);
            platform_cut_tail(self->descriptor, written - whole);
            self->size += whole;
            self->filled = 0;
            return -1;
        }
    }
    self->size += written;
    self->filled = 0;
    return 0;
}

static int
make_room(SavefileWriter *self, size_t size, failure_t *failure)
{
    if (size <= self->room - self->filled) {
        return 0;
    }
    if (flush(self, failure) < 0) {
        return -1;
    }
    if (size > self->room) {
        uint8_t *larger = realloc(self->buffer, size);
        if (larger == NULL) {
            *failure = (failure_t){.system_error = ENOMEM, .call = "realloc", .hint = ""};
            return -1;
        }
        self->buffer = larger;
        self->room = size;
    }
    return 0;
}

static int
write_records(SavefileWriter *self, const block_t *block, size_t count, failure_t *failure)
{
    for (size_t i = 0; i < count; i++) {
        const record_t *record = &block->records[i];
        if (make_room(self, SAVEFILE_RECORD_HEADER_SIZE + record->length, failure) < 0) {
            return -1;
        }
        uint8_t *place = self->buffer + self->filled;
        savefile_record_header(place, record);
        memcpy(place + SAVEFILE_RECORD_HEADER_SIZE, block->bytes + record->offset, record->length);
        self->filled += SAVEFILE_RECORD_HEADER_SIZE + record->length;
    }
    return flush(self, failure);
}

static PyObject *
raise_write_failure(module_state_t *state, const failure_t *failure)
{
    return failure->call == NULL ? NULL : raise_failure(state, failure);
}

static PyObject *
savefile_writer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"descriptor", "snaplen", NULL};
    uint32_t snaplen = UINT32_MAX;
    int descriptor;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i|$O&:SavefileWriter", names, &descriptor,
                                     parse_snaplen, &snaplen)) {
        return NULL;
    }
    SavefileWriter *self = (SavefileWriter *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->descriptor = descriptor;
    self->lock = PyThread_allocate_lock();
    self->buffer = malloc(USUAL_BUFFER);
    if (self->lock == NULL || self->buffer == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->room = USUAL_BUFFER;
    savefile_header(self->buffer, snaplen == UINT32_MAX ? SAVEFILE_DEFAULT_SNAPLEN : snaplen);
    int64_t written;
    failure_t failure;
    do {
        Py_BEGIN_ALLOW_THREADS
        written = platform_write(descriptor, self->buffer, SAVEFILE_HEADER_SIZE, &failure);
        Py_END_ALLOW_THREADS
    } while (written == 0 && PyErr_CheckSignals() == 0);
    if (written != SAVEFILE_HEADER_SIZE) {
        if (written >= 0 && !PyErr_Occurred()) {
            failure = (failure_t){.system_error = ENOSPC, .call = "write", .hint = ""};
            written = -1;
        }
        Py_DECREF(self);
        return written < 0 ? raise_failure(PyType_GetModuleState(type), &failure) : NULL;
    }
    self->size = SAVEFILE_HEADER_SIZE;
    return (PyObject *)self;
}

static void
savefile_writer_dealloc(SavefileWriter *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->lock != NULL) {
        PyThread_free_lock(self->lock);
    }
    free(self->buffer);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(write_doc,
             "write($self, batch, count=None, /)\n--\n\n"
             "Write the first ``count`` datagrams of a ``Batch``, by default all of them.\n"
             "\n"
             "Returns:\n"
             "    int: how many were written.\n"
             "\n"
             "Raises:\n"
             "    OSError: if the file takes no more (ENOSPC, EPIPE, EFBIG, ...; write(2)). A\n"
             "        regular file then ends with the last datagram that is whole.");

static PyObject *
savefile_writer_write(SavefileWriter *self, PyObject *arguments)
{
    module_state_t *state = state_of((PyObject *)self);
    Batch *batch;
    PyObject *limit = Py_None;
    if (!PyArg_ParseTuple(arguments, "O!|O:write", state->batch_type, &batch, &limit)) {
        return NULL;
    }
    size_t count = batch->block->count;
    long long most = LLONG_MAX;
    if (limit != Py_None &&
        parse_integer(limit, 0, LLONG_MAX, "count must be 0 datagrams or more", &most) < 0) {
        return NULL;
    }
    count = (unsigned long long)most < count ? (size_t)most : count;
    if (self->writing == PyThread_get_thread_ident()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a signal handler must not write to the savefile that it interrupted");
        return NULL;
    }
    failure_t failure;
    PyThreadState *thread = PyEval_SaveThread();
    PyThread_acquire_lock(self->lock, WAIT_LOCK);
    self->thread = thread;
    self->writing = PyThread_get_thread_ident();
    int result = write_records(self, batch->block, count, &failure);
    self->writing = 0;
    thread = self->thread;
    PyThread_release_lock(self->lock);
    PyEval_RestoreThread(thread);
    return result < 0 ? raise_write_failure(state, &failure) : PyLong_FromSize_t(count);
}

static PyObject *
savefile_writer_get_size(SavefileWriter *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(self->size);
}

static PyMethodDef savefile_writer_methods[] = {
    {"write", (PyCFunction)savefile_writer_write, METH_VARARGS, write_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef savefile_writer_getset[] = {
    {"size", (getter)savefile_writer_get_size, NULL,
     "Bytes written, header included, up to the last whole datagram.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(savefile_writer_doc,
             "SavefileWriter(descriptor, *, snaplen=None)\n--\n\n"
             "Write datagrams to a savefile: pcap with nanosecond stamps and link type RAW.\n"
             "\n"
             "The header is written at once and each batch before ``write`` returns.\n"
             "\n"
             "Args:\n"
             "    descriptor: of a file or pipe that is open for writing; it stays the caller's.\n"
             "    snaplen: what the header says of it, in bytes; ``None`` says 262,144.\n"
             "\n"
             "Raises:\n"
             "    OSError: if the header cannot be written (write(2)).\n"
             "\n"
             "Format: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html");

static PyType_Slot savefile_writer_slots[] = {
    {Py_tp_doc, (void *)savefile_writer_doc}, {Py_tp_new, savefile_writer_new},
    {Py_tp_dealloc, savefile_writer_dealloc}, {Py_tp_methods, savefile_writer_methods},
    {Py_tp_getset, savefile_writer_getset},   {0, NULL},
};

PyType_Spec savefile_writer_spec = {
    .name = "winsockctl.SavefileWriter",
    .basicsize = sizeof(SavefileWriter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = savefile_writer_slots,
};
