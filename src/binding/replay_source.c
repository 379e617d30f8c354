/* Reads what RawSocket.replay is given into the blocks that the replay backend hands out. */
#include "binding/binding.h"

#include <stdlib.h>

#include "core/ip.h"

#define LARGEST_BATCH 65536 /* datagrams */

typedef struct {
    replay_source_t *source;
    Py_ssize_t room; /* of the source's array of blocks */
    uint32_t snaplen;
    Py_ssize_t batch_size;
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
    long long timestamp_ns = 0;
    int direction = DIRECTION_INCOMING;
    PyObject *original_length = NULL;
    if (!PyArg_ParseTuple(tuple,
                          "y*L|iO!;a replayed datagram is (data, timestamp_ns, direction, "
                          "original_length)",
                          &item->view, &timestamp_ns, &direction, &PyLong_Type, &original_length)) {
        return -1;
    }
    long long length = item->view.len;
    if (original_length != NULL) {
        length = PyLong_AsLongLong(original_length);
    }
    if (direction < DIRECTION_UNKNOWN || direction > DIRECTION_OTHER || length < item->view.len ||
        length > UINT32_MAX) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError,
                            "direction must be a Direction, and original_length at least the "
                            "length of the data and below 2**32");
        }
        PyBuffer_Release(&item->view);
        return -1;
    }
    item->record = (record_t){
        .timestamp_ns = timestamp_ns,
        .original_length = (uint32_t)length,
        .direction = (uint8_t)direction,
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
        block_append(block, bytes, self->records[i].length, self->records[i]);
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
    item->record.version = ip_version(data, (uint64_t)item->view.len);
    if (item->record.version == 0) { /* R8 */
        return 0;
    }
    Py_ssize_t length = item->view.len > self->snaplen ? self->snaplen : item->view.len;
    Py_ssize_t end = PyByteArray_GET_SIZE(self->bytes);
    if (PyByteArray_Resize(self->bytes, end + length) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(self->bytes) + end, data, (size_t)length);
    item->record.length = (uint32_t)length;
    self->records[self->count++] = item->record;
    return (Py_ssize_t)self->count == self->batch_size ? finish_block(self) : 0;
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
        long value = PyLong_AsLong(code);
        Py_DECREF(code);
        if (value == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (value < 1 || value > UINT16_MAX) {
            PyErr_SetString(PyExc_ValueError, "a fault is a Winsock error number, as 10050");
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
                   PyObject *faults, uint32_t snaplen, Py_ssize_t batch_size)
{
    if (batch_size < 1 || batch_size > LARGEST_BATCH) {
        PyErr_Format(PyExc_ValueError, "batch_size must be 1 to %d datagrams", LARGEST_BATCH);
        return -1;
    }
    if (read_faults(faults, &source->faults) < 0) {
        return -1;
    }
    builder_t builder = {
        .source = source,
        .snaplen = snaplen,
        .batch_size = batch_size,
        .bytes = PyByteArray_FromStringAndSize(NULL, 0),
        .records = PyMem_New(record_t, (size_t)batch_size),
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
