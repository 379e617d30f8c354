/* SavefileReader: the datagrams of a savefile, from memory that is mapped or from a stream.
 *
 * A segment is a Python object whose bytes are here and do not move: a memoryview of what is
 * mapped, or a bytearray that was read. A block's bytes are those of a segment, which it holds.
 *
 * receive_lock is held by the thread that is inside receive(), with the GIL or without it; it
 * guards the window and `waited`. parse_lock guards `reader`, `selection` and `filter`, and nobody
 * waits or runs Python while holding it. All other members need the GIL.
 */
#ifndef WINSOCKCTL_BINDING_SAVEFILE_READER_H
#define WINSOCKCTL_BINDING_SAVEFILE_READER_H

#include "binding/binding.h"

#include "core/savefile_fill.h"

typedef struct SavefileReader {
    PyObject_HEAD
    PyThread_type_lock receive_lock;
    PyThread_type_lock parse_lock;
    unsigned long receiving; /* the thread that has receive_lock, 0 if none */
    PyObject *read;          /* what gives further bytes; NULL if all are mapped */
    PyObject *waited;        /* what wait() left for receive(): a Batch or an exception */
    uint64_t waited_changes; /* the filter_changes before it */
    PyObject *segment;       /* NULL when closed, and before the first bytes */
    uint8_t *segment_bytes;
    savefile_window_t window; /* what of the segment was not read yet */
    savefile_reader_t reader;
    savefile_selection_t selection;
    filter_t *filter;
    uint64_t filter_changes;
    size_t batch_size;
    uint64_t buffer_size;
    bool closing;
    bool ended;
    uint64_t received;
    uint64_t truncated;
    uint64_t bytes;
    PyObject *weak_references;
} SavefileReader;

/* For a look at the reader, which another thread may be using without the GIL. */
static inline void
savefile_reader_lock(SavefileReader *self)
{
    Py_BEGIN_ALLOW_THREADS
    PyThread_acquire_lock(self->parse_lock, WAIT_LOCK);
    Py_END_ALLOW_THREADS
}

static inline void
savefile_reader_unlock(SavefileReader *self)
{
    PyThread_release_lock(self->parse_lock);
}

/* savefile_reader_facts.c: what is known of the file so far. */
extern const char savefile_reader_statistics_doc[];
PyObject *savefile_reader_statistics(SavefileReader *self, PyObject *ignored);
extern PyGetSetDef savefile_reader_getset[];

#endif
