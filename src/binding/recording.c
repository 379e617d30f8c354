/* Recording: savefiles written in C, from batches or straight from a raw socket, without the GIL
 * and without an object per datagram. `winsockctl.Recorder` makes one.
 */
#include "binding/raw_socket.h"

#include "backend/recording.h"
#include "core/savefile.h"
#include "core/winsock_errors.h"

#define NANOSECONDS 1000000000
/* How long a signal, a close() of the recording or the counts may wait for the recording thread. */
#define TURN_NS (NANOSECONDS / 20)

typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock; /* guards `recording`; held without the GIL */
    recording_t recording;
    bool ready;
    bool closing;          /* needs the GIL */
    bool flush_each;       /* batch */
    PyObject *texts;       /* a tuple of the bytes that the options point into */
    PyThreadState *thread; /* of the one that holds the lock */
    unsigned long holder;  /* its identifier, 0 if nobody does */
} Recording;

static bool
run_signal_handlers(void *context)
{
    Recording *self = context;
    PyEval_RestoreThread(self->thread);
    bool stop = PyErr_CheckSignals() < 0;
    self->thread = PyEval_SaveThread();
    return stop;
}

/* With the GIL, which it gives up. False with an exception in a signal handler that came while its
 * own thread was writing. */
static bool
enter(Recording *self)
{
    if (self->holder == PyThread_get_thread_ident()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a signal handler must not use the recorder that it interrupted");
        return false;
    }
    PyThreadState *thread = PyEval_SaveThread();
    PyThread_acquire_lock(self->lock, WAIT_LOCK);
    self->thread = thread;
    self->holder = PyThread_get_thread_ident();
    return true;
}

static void
leave(Recording *self)
{
    PyThreadState *thread = self->thread;
    self->holder = 0;
    PyThread_release_lock(self->lock);
    PyEval_RestoreThread(thread);
}

static PyObject *
last_name(const Recording *self)
{
    const recording_t *recording = &self->recording;
    return recording->name_count == 0
               ? Py_NewRef(Py_None)
               : PyUnicode_DecodeFSDefault(recording->names[recording->name_count - 1]);
}

/* NULL with the exception; the one of a signal handler if no call failed. */
static PyObject *
raise_recording_failure(const Recording *self, const failure_t *failure, PyObject *name)
{
    if (failure->call != NULL) {
        PyObject *file = name != NULL ? Py_NewRef(name) : last_name(self);
        raise_file_failure(failure, file);
        Py_XDECREF(file);
    }
    return NULL;
}

static PyObject *
raise_closed(void)
{
    PyErr_SetString(PyExc_ValueError, "the recorder is closed: open a new one");
    return NULL;
}

/* enter(), but false with an exception also if nothing more can be recorded. */
static bool
enter_open(Recording *self)
{
    if (!enter(self)) {
        return false;
    }
    bool open = self->recording.open;
    if (!open) {
        leave(self);
        raise_closed();
        return false;
    }
    return true;
}

static int
parse_limit(PyObject *object, long long least, const char *complaint, uint64_t *limit)
{
    long long value;
    *limit = UINT64_MAX;
    if (object == Py_None) {
        return 0;
    }
    if (parse_integer(object, least, LLONG_MAX, complaint, &value) < 0) {
        return -1;
    }
    *limit = (uint64_t)value;
    return 0;
}

enum text { HARDWARE, OS, APPLICATION, COMMENT, INTERFACE, FILTER, PATH, SUFFIX, TEXTS };

static const char *
text_of(const Recording *self, enum text which)
{
    PyObject *text = PyTuple_GET_ITEM(self->texts, which);
    return text == Py_None ? NULL : PyBytes_AsString(text);
}

static int
begin(Recording *self, const recording_options_t *options)
{
    failure_t failure;
    if (!enter(self)) {
        return -1;
    }
    int result = recording_open(&self->recording, options, &failure);
    leave(self);
    self->ready = true;
    if (result < 0) {
        PyObject *name = options->path == NULL || self->recording.name_count > 0
                             ? NULL
                             : PyUnicode_DecodeFSDefault(options->path);
        raise_recording_failure(self, &failure, name);
        Py_XDECREF(name);
    }
    return result;
}

static PyObject *
recording_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"texts",        "descriptor",     "pcapng", "snaplen", "rotate_size",
                            "rotate_count", "rotate_seconds", "files",  "flush",   NULL};
    PyObject *texts, *size = Py_None, *count = Py_None, *seconds = Py_None, *files = Py_None;
    int descriptor = -1, pcapng = 1, flush = 0;
    uint32_t snaplen = UINT32_MAX;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|$ipO&OOOOp:Recording", names, &PyTuple_Type,
                                     &texts, &descriptor, &pcapng, parse_snaplen, &snaplen, &size,
                                     &count, &seconds, &files, &flush)) {
        return NULL;
    }
    if (PyTuple_GET_SIZE(texts) != TEXTS) {
        PyErr_SetString(PyExc_ValueError, "Recording() takes eight texts");
        return NULL;
    }
    Recording *self = (Recording *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->texts = Py_NewRef(texts);
    self->flush_each = flush;
    self->lock = PyThread_allocate_lock();
    double limit = seconds == Py_None ? 0 : PyFloat_AsDouble(seconds);
    recording_options_t options = {
        .format = pcapng ? SAVEFILE_PCAPNG : SAVEFILE_PCAP,
        .description = {.hardware = text_of(self, HARDWARE),
                        .os = text_of(self, OS),
                        .application = text_of(self, APPLICATION),
                        .comment = text_of(self, COMMENT),
                        .interface = text_of(self, INTERFACE),
                        .filter = text_of(self, FILTER),
                        .snaplen = snaplen == UINT32_MAX ? SAVEFILE_DEFAULT_SNAPLEN : snaplen},
        .path = text_of(self, PATH),
        .suffix = text_of(self, SUFFIX),
        .descriptor = descriptor,
        .direct = !flush,
        .numbered = size != Py_None || count != Py_None || seconds != Py_None,
        .rotate_ns = seconds == Py_None || limit > (double)INT64_MAX / NANOSECONDS / 2
                         ? INT64_MAX
                         : (int64_t)(limit * NANOSECONDS),
        .interrupted = run_signal_handlers,
        .context = self,
    };
    if (self->lock == NULL) {
        PyErr_NoMemory();
    } else if (!PyErr_Occurred() && seconds != Py_None && !(limit > 0)) {
        PyErr_SetString(PyExc_ValueError, "rotate_seconds must be more than 0");
    }
    if (PyErr_Occurred() ||
        parse_limit(size, 1, "rotate_size must be at least 1 byte", &options.rotate_size) < 0 ||
        parse_limit(count, 1, "rotate_count must be at least 1 datagram", &options.rotate_count) <
            0 ||
        parse_limit(files, 1, "files must be at least 1", &options.files) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    options.files = options.files == UINT64_MAX ? 0 : options.files;
    if (begin(self, &options) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void
recording_dealloc(Recording *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->ready) {
        /* Nobody is there to be told of a failure or to run a signal handler for. */
        self->recording.options.interrupted = NULL;
        recording_close(&self->recording, &(failure_t){0});
        recording_free(&self->recording);
    }
    if (self->lock != NULL) {
        PyThread_free_lock(self->lock);
    }
    Py_XDECREF(self->texts);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Of the recording, when it may grow by `more` bytes. */
static uint64_t
limit_in_all(const recording_t *recording, uint64_t more)
{
    return more > UINT64_MAX - recording->bytes ? UINT64_MAX : recording->bytes + more;
}

PyDoc_STRVAR(write_doc, "write($self, batch, count=None, bytes=None, /)\n--\n\n"
                        "Write the first datagrams of a ``Batch``; return how many were written.");

static PyObject *
recording_write_batch(Recording *self, PyObject *arguments)
{
    module_state_t *state = state_of((PyObject *)self);
    Batch *batch;
    PyObject *count_object = Py_None, *bytes_object = Py_None;
    uint64_t most, bytes;
    if (!PyArg_ParseTuple(arguments, "O!|OO:write", state->batch_type, &batch, &count_object,
                          &bytes_object) ||
        parse_limit(count_object, 0, "count must be 0 datagrams or more", &most) < 0 ||
        parse_limit(bytes_object, 0, "bytes must be 0 or more", &bytes) < 0 || !enter_open(self)) {
        return NULL;
    }
    failure_t failure;
    size_t count = batch->block->count;
    size_t written = 0;
    count = most < count ? (size_t)most : count;
    self->recording.bytes_limit = limit_in_all(&self->recording, bytes);
    int result = recording_write(&self->recording, batch->block, count, &written, &failure);
    if (result == 0 && self->flush_each) {
        result = recording_flush(&self->recording, &failure);
    }
    leave(self);
    return result < 0 ? raise_recording_failure(self, &failure, NULL) : PyLong_FromSize_t(written);
}

/* What record() was asked for and how far it is. */
typedef struct {
    RawSocket *source;
    uint64_t count_limit;
    uint64_t bytes_limit; /* of the recording, in all */
    int64_t deadline_ns;
    uint64_t count;
    block_t used; /* its sums only, since the last time that they were told */
    bool done;
    bool write_failed;
    enum receive_outcome outcome;
    failure_t failure;
} turn_t;

/* Without the GIL. */
static void
hold(Recording *self, PyThreadState *thread)
{
    PyThread_acquire_lock(self->lock, WAIT_LOCK);
    self->thread = thread;
    self->holder = PyThread_get_thread_ident();
}

static void
let_go(Recording *self, PyThreadState **thread)
{
    *thread = self->thread;
    self->holder = 0;
    PyThread_release_lock(self->lock);
}

static void
record_block(Recording *self, turn_t *turn, block_t *block, PyThreadState **thread)
{
    uint64_t left = turn->count_limit - turn->count;
    size_t count = left < block->count ? (size_t)left : block->count;
    size_t written = 0;
    hold(self, *thread);
    recording_t *recording = &self->recording;
    turn->done = !recording->open;
    if (recording->open) {
        recording->bytes_limit = turn->bytes_limit;
        int result = recording_write(recording, block, count, &written, &turn->failure);
        recording->received += (int64_t)written;
        if (result == 0 && self->flush_each) {
            result = recording_flush(recording, &turn->failure);
        }
        turn->write_failed = result < 0;
    }
    let_go(self, thread);
    turn->count += written;
    turn->done |= written < block->count || turn->count == turn->count_limit || turn->write_failed;
    uint64_t bytes = block->datagram_bytes, truncated = block->truncated;
    block_skip(block, written);
    turn->used.count += written;
    turn->used.datagram_bytes += bytes - block->datagram_bytes;
    turn->used.truncated += truncated - block->truncated;
    raw_socket_give_back(turn->source, block);
}

/* The counts for the statistics block, and what has been in the buffer for long. */
static void
settle(Recording *self, turn_t *turn, PyThreadState **thread)
{
    int64_t dropped = raw_socket_dropped(turn->source);
    hold(self, *thread);
    recording_t *recording = &self->recording;
    if (recording->open && !turn->write_failed) {
        recording->received +=
            dropped < 0 ? 0 : dropped - (recording->dropped < 0 ? 0 : recording->dropped);
        recording->dropped = dropped;
        turn->write_failed = recording_flush_old(recording, &turn->failure) < 0;
    }
    let_go(self, thread);
}

/* Moves datagrams for a while, with the GIL before and behind it only. */
static void
take_turn(Recording *self, turn_t *turn)
{
    int64_t end_ns = platform_now_ns() + TURN_NS;
    PyThreadState *thread = PyEval_SaveThread();
    end_ns = turn->deadline_ns < end_ns ? turn->deadline_ns : end_ns;
    do {
        block_t *block = NULL;
        turn->outcome = raw_socket_fetch(turn->source, end_ns, &block, &turn->failure);
        if (turn->outcome == RECEIVE_BLOCK) {
            record_block(self, turn, block, &thread);
        }
    } while (turn->outcome == RECEIVE_BLOCK && !turn->done && platform_now_ns() < end_ns);
    if (!turn->write_failed) {
        settle(self, turn, &thread);
    }
    PyEval_RestoreThread(thread);
    raw_socket_count(turn->source, &turn->used);
    turn->used = (block_t){0};
}

/* With the critical sections of both. */
static PyObject *
take_turns(Recording *self, turn_t *turn)
{
    if (turn->source->closing) {
        raw_socket_fail_closed("receive", &turn->failure);
        return raise_failure(state_of((PyObject *)self), &turn->failure);
    }
    if (!enter_open(self)) {
        return NULL;
    }
    recording_t *recording = &self->recording;
    recording->received =
        (int64_t)turn->source->received + (recording->dropped < 0 ? 0 : recording->dropped);
    turn->bytes_limit = limit_in_all(recording, turn->bytes_limit);
    leave(self);
    while (!turn->done && !self->closing) {
        take_turn(self, turn);
        if (turn->write_failed) {
            return raise_recording_failure(self, &turn->failure, NULL);
        }
        bool is_over =
            turn->outcome == RECEIVE_ENDED || turn->source->closing ||
            (turn->outcome == RECEIVE_TIMED_OUT && platform_now_ns() >= turn->deadline_ns);
        if (turn->outcome == RECEIVE_WOKEN && turn->source->closing) {
            break;
        }
        if (!raw_socket_check(turn->source, turn->outcome, &turn->failure) ||
            PyErr_CheckSignals() < 0) {
            return NULL;
        }
        if (is_over || platform_now_ns() >= turn->deadline_ns) {
            break;
        }
    }
    return PyLong_FromUnsignedLongLong(turn->count);
}

PyDoc_STRVAR(record_doc, "record($self, socket, /, *, count=None, bytes=None, seconds=None)\n--\n\n"
                         "Record what a ``RawSocket`` receives; see ``winsockctl.Recorder``.");

static PyObject *
recording_record(Recording *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "count", "bytes", "seconds", NULL};
    module_state_t *state = state_of((PyObject *)self);
    PyObject *count = Py_None, *bytes = Py_None, *seconds = Py_None;
    turn_t turn = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|$OOO:record", names, state->raw_socket_type,
                                     &turn.source, &count, &bytes, &seconds) ||
        parse_limit(count, 1, "count must be at least 1 datagram", &turn.count_limit) < 0 ||
        parse_limit(bytes, 1, "bytes must be at least 1", &turn.bytes_limit) < 0 ||
        parse_deadline(seconds, &turn.deadline_ns) < 0) {
        return NULL;
    }
    PyObject *result;
    Py_BEGIN_CRITICAL_SECTION2((PyObject *)self, (PyObject *)turn.source);
    result = take_turns(self, &turn);
    Py_END_CRITICAL_SECTION2();
    return result;
}

PyDoc_STRVAR(flush_doc, "flush($self, /)\n--\n\nWrite what is still in the buffer.");

static PyObject *
recording_flush_now(Recording *self, PyObject *Py_UNUSED(ignored))
{
    failure_t failure;
    if (!enter_open(self)) {
        return NULL;
    }
    int result = recording_flush(&self->recording, &failure);
    leave(self);
    return result < 0 ? raise_recording_failure(self, &failure, NULL) : Py_NewRef(Py_None);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nEnd the file; again does nothing.");

static PyObject *
recording_close_now(Recording *self, PyObject *Py_UNUSED(ignored))
{
    failure_t failure;
    self->closing = true;
    if (!enter(self)) {
        return NULL;
    }
    int result = recording_close(&self->recording, &failure);
    leave(self);
    return result < 0 ? raise_recording_failure(self, &failure, NULL) : Py_NewRef(Py_None);
}

/* With the lock, so that the numbers fit together. */
typedef PyObject *(*getter_t)(const Recording *self);

static PyObject *
get_datagrams(const Recording *self)
{
    return PyLong_FromUnsignedLongLong(self->recording.datagrams);
}

static PyObject *
get_bytes(const Recording *self)
{
    return PyLong_FromUnsignedLongLong(self->recording.bytes);
}

static PyObject *
get_closed(const Recording *self)
{
    return PyBool_FromLong(self->closing || !self->recording.open);
}

static PyObject *
get_direct(const Recording *self)
{
    return PyBool_FromLong(self->recording.file.direct);
}

static PyObject *
get_paths(const Recording *self)
{
    size_t count = self->recording.name_count;
    PyObject *paths = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; paths != NULL && i < count; i++) {
        PyObject *path = PyUnicode_DecodeFSDefault(self->recording.names[i]);
        if (path == NULL) {
            Py_CLEAR(paths);
            break;
        }
        PyTuple_SET_ITEM(paths, (Py_ssize_t)i, path);
    }
    return paths;
}

static PyObject *
recording_get(Recording *self, void *closure)
{
    getter_t *get = closure;
    /* A signal handler of the thread that writes may look, too: nothing changes meanwhile. */
    if (self->holder == PyThread_get_thread_ident()) {
        return (*get)(self);
    }
    Py_BEGIN_ALLOW_THREADS
    PyThread_acquire_lock(self->lock, WAIT_LOCK);
    Py_END_ALLOW_THREADS
    PyObject *result = (*get)(self);
    PyThread_release_lock(self->lock);
    return result;
}

static getter_t getters[] = {get_datagrams, get_bytes, get_closed, get_direct, get_paths};

GUARDED_METHOD(Recording, recording_write_batch)
GUARDED_METHOD(Recording, recording_flush_now)
GUARDED_METHOD(Recording, recording_close_now)
GUARDED_GETTER(Recording, recording_get)

static PyMethodDef recording_methods[] = {
    {"write", (PyCFunction)recording_write_batch_guarded, METH_VARARGS, write_doc},
    {"record", (PyCFunction)(void (*)(void))recording_record, METH_VARARGS | METH_KEYWORDS,
     record_doc},
    {"flush", (PyCFunction)recording_flush_now_guarded, METH_NOARGS, flush_doc},
    {"close", (PyCFunction)recording_close_now_guarded, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef recording_getset[] = {
    {"datagrams", (getter)recording_get_guarded, NULL, "Datagrams recorded.", &getters[0]},
    {"bytes", (getter)recording_get_guarded, NULL, "Bytes of all files.", &getters[1]},
    {"closed", (getter)recording_get_guarded, NULL, "Whether nothing more can be recorded.",
     &getters[2]},
    {"direct", (getter)recording_get_guarded, NULL, "Whether the page cache is passed by.",
     &getters[3]},
    {"paths", (getter)recording_get_guarded, NULL, "The names of the files that are kept.",
     &getters[4]},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(recording_doc, "What ``winsockctl.Recorder`` is made of.");

static PyType_Slot recording_slots[] = {
    {Py_tp_doc, (void *)recording_doc}, {Py_tp_new, recording_new},
    {Py_tp_dealloc, recording_dealloc}, {Py_tp_methods, recording_methods},
    {Py_tp_getset, recording_getset},   {0, NULL},
};

PyType_Spec recording_spec = {
    .name = "winsockctl._winsockctl.Recording",
    .basicsize = sizeof(Recording),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = recording_slots,
};
