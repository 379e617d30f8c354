/* Reads what RawSocket.replay is given into the blocks that the replay backend hands out. */
#include "binding/binding.h"

#include <stdlib.h>

#include "core/ip.h"

#define USUAL_BATCH 1024 /* datagrams */
#define LARGEST_BATCH 65536

typedef struct {
    replay_source_t *source;
    Py_ssize_t room; /* of the source's array of blocks */
    uint32_t snaplen;
    size_t batch_size;
    /* The block in the making. Bytes are collected first, because a block has a fixed size. */
    PyObject *bytes; /* bytearray */
    record_t *records;
    size_t count;
} builder_t;

/* One datagram of the argument: its bytes, held by `view`, and what is known about it. */
typedef struct {
    Py_buffer view;
    record_t record;
} item_t;

static int
parse_tuple(PyObject *tuple, item_t *item)
{
    PyObject *timestamp, *direction = NULL, *original = NULL, *flags = NULL;
    long long timestamp_ns, way = DIRECTION_INCOMING, length, said = 0;
    if (!PyArg_ParseTuple(tuple,
                          "y*O|OOO;a replayed datagram is (data, timestamp_ns, direction, "
                          "original_length, flags)",
                          &item->view, &timestamp, &direction, &original, &flags)) {
        return -1;
    }
    length = item->view.len;
    if (parse_integer(timestamp, LLONG_MIN, LLONG_MAX, "timestamp_ns must fit into 64 bits",
                      &timestamp_ns) < 0 ||
        (direction != NULL && parse_integer(direction, DIRECTION_UNKNOWN, DIRECTION_OTHER,
                                            "direction must be a Direction", &way) < 0) ||
        (original != NULL &&
         parse_integer(original, length, UINT32_MAX,
                       "original_length must be at least the length of the data and below 2**32",
                       &length) < 0) ||
        (flags != NULL &&
         parse_integer(flags, 0, RECORD_FLAGS, "flags must be a RecordFlag", &said) < 0)) {
        PyBuffer_Release(&item->view);
        return -1;
    }
    item->record = (record_t){
        .timestamp_ns = timestamp_ns,
        .original_length = (uint32_t)length,
        .direction = (uint8_t)way,
        .flags = (uint16_t)(said & ~RECORD_TRUNCATED), /* the lengths tell that */
    };
    return 0;
}

static int
parse_item(module_state_t *state, PyObject *object, item_t *item)
{
    *item = (item_t){0};
    if (PyTuple_Check(object)) {
        return parse_tuple(object, item);
    }
    if (PyObject_GetBuffer(object, &item->view, PyBUF_SIMPLE) < 0) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError,
                         "a replayed datagram is a bytes-like object, a Datagram or a tuple "
                         "(data, timestamp_ns, ...), not %.100s",
                         Py_TYPE(object)->tp_name);
        }
        return -1;
    }
    if (Py_IS_TYPE(object, state->datagram_type)) {
        item->record = *datagram_record((Datagram *)object);
    } else {
        item->record.original_length = (uint32_t)item->view.len;
        item->record.direction = DIRECTION_INCOMING;
    }
    return 0;
}

static int
add_block(builder_t *self, block_t *block)
{
    replay_source_t *source = self->source;
    if ((Py_ssize_t)source->count == self->room) {
        Py_ssize_t room = self->room * 2 + 8;
        void *larger = realloc(source->blocks, (size_t)room * sizeof *source->blocks);
        if (larger == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        source->blocks = larger;
        self->room = room;
    }
    source->blocks[source->count++] = block;
    return 0;
}

static int
finish_block(builder_t *self)
{
    size_t size = (size_t)PyByteArray_GET_SIZE(self->bytes);
    block_t *block = block_new(size, self->count);
    if (block == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    const uint8_t *bytes = (const uint8_t *)PyByteArray_AS_STRING(self->bytes);
    for (size_t i = 0; i < self->count; i++) {
        block_append(block, bytes, self->records[i]);
        bytes += self->records[i].length;
    }
    self->count = 0;
    if (PyByteArray_Resize(self->bytes, 0) < 0 || add_block(self, block) < 0) {
        block->release(block);
        return -1;
    }
    return 0;
}

static int
add_item(builder_t *self, item_t *item)
{
    const uint8_t *data = item->view.buf;
    const uint64_t size = (uint64_t)item->view.len;
    if (size > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a datagram is shorter than 2**32 bytes");
        return -1;
    }
    item->record.version = ip_version(data, size);
    if (item->record.version == 0) { /* R8 */
        return 0;
    }
    Py_ssize_t length = (Py_ssize_t)(size > self->snaplen ? self->snaplen : size);
    Py_ssize_t end = PyByteArray_GET_SIZE(self->bytes);
    if (PyByteArray_Resize(self->bytes, end + length) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(self->bytes) + end, data, (size_t)length);
    item->record.length = (uint32_t)length;
    self->records[self->count++] = item->record;
    return self->count == self->batch_size ? finish_block(self) : 0;
}

static int
add_all(builder_t *self, module_state_t *state, PyObject *datagrams)
{
    PyObject *iterator = PyObject_GetIter(datagrams);
    if (iterator == NULL) {
        return -1;
    }
    PyObject *object;
    int result = 0;
    while (result == 0 && (object = PyIter_Next(iterator)) != NULL) {
        item_t item;
        result = parse_item(state, object, &item);
        if (result == 0) {
            result = add_item(self, &item);
            PyBuffer_Release(&item.view);
        }
        Py_DECREF(object);
    }
    Py_DECREF(iterator);
    if (result < 0 || PyErr_Occurred()) {
        return -1;
    }
    return self->count > 0 ? finish_block(self) : 0;
}

static int
read_faults(PyObject *faults, replay_faults_t *read)
{
    const struct {
        const char *call;
        int *code;
    } steps[] = {
        {"socket", &read->socket},
        {"bind", &read->bind},
        {"WSAIoctl", &read->control},
        {"receive", &read->receive},
    };
    if (faults == Py_None) {
        return 0;
    }
    Py_ssize_t known = 0;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        PyObject *code = PyMapping_GetItemString(faults, steps[i].call);
        if (code == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_KeyError)) {
                return -1;
            }
            PyErr_Clear();
            continue;
        }
        known++;
        long long value;
        int result = parse_integer(code, 1, UINT16_MAX,
                                   "a fault is a Winsock error number, as 10050", &value);
        Py_DECREF(code);
        if (result < 0) {
            return -1;
        }
        *steps[i].code = (int)value;
    }
    if (known != PyMapping_Size(faults)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError,
                            "faults are keyed by 'socket', 'bind', 'WSAIoctl' or 'receive'");
        }
        return -1;
    }
    return 0;
}

int
replay_source_fill(replay_source_t *source, module_state_t *state, PyObject *datagrams,
                   PyObject *faults, uint32_t snaplen, PyObject *batch_size)
{
    long long batch = USUAL_BATCH;
    if (batch_size != NULL &&
        parse_integer(batch_size, 1, LARGEST_BATCH, "batch_size must be 1 to 65536 datagrams",
                      &batch) < 0) {
        return -1;
    }
    if (read_faults(faults, &source->faults) < 0) {
        return -1;
    }
    builder_t builder = {
        .source = source,
        .snaplen = snaplen,
        .batch_size = (size_t)batch,
        .bytes = PyByteArray_FromStringAndSize(NULL, 0),
        .records = PyMem_New(record_t, (size_t)batch),
    };
    int result = -1;
    if (builder.bytes == NULL || builder.records == NULL) {
        PyErr_NoMemory();
    } else {
        result = add_all(&builder, state, datagrams);
    }
    Py_XDECREF(builder.bytes);
    PyMem_Free(builder.records);
    return result;
}

void
replay_source_clear(replay_source_t *source)
{
    for (size_t i = 0; i < source->count; i++) {
        source->blocks[i]->release(source->blocks[i]);
    }
    free(source->blocks);
    *source = (replay_source_t){0};
}
