/* The floor that knows Python: the module's state and its types, one a file. */
#ifndef WINSOCKCTL_BINDING_H
#define WINSOCKCTL_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "backend/backend.h"
#include "backend/platform.h"
#include "binding/guarded.h"

struct RawSocket;

/* module_traverse and module_clear mirror this struct line for line. */
typedef struct {
    PyTypeObject *batch_type;
    PyTypeObject *batch_iterator_type;
    PyTypeObject *column_type;
    PyTypeObject *datagram_type;
    PyTypeObject *operation_type;
    PyTypeObject *raw_socket_type;
    PyTypeObject *recording_type;
    PyTypeObject *savefile_reader_type;
    PyObject *winsock_error;
    PyObject *winsock_permission_error;
    PyObject *winsock_interrupted_error;
    PyObject *savefile_error;
    PyObject *direction;    /* the IntEnum */
    PyObject *directions;   /* a tuple of its members by enum direction */
    PyObject *record_flag;  /* the IntFlag */
    PyObject *family_ipv4;  /* socket.AF_INET */
    PyObject *family_ipv6;  /* socket.AF_INET6 */
    PyObject *family_any;   /* socket.AF_UNSPEC */
    PyObject *open_sockets; /* a dict of weak references by descriptor */
} module_state_t;

static inline module_state_t *
state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

extern struct PyModuleDef module_definition;

/* Of a type that may be a subclass. */
static inline module_state_t *
state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &module_definition);
    return module == NULL ? NULL : PyModule_GetState(module);
}

/* Of an instance of a final type, whose type is the one that the module made. */
static inline module_state_t *
state_of(PyObject *instance)
{
    return PyType_GetModuleState(Py_TYPE(instance));
}

extern PyType_Spec batch_spec;
extern PyType_Spec batch_iterator_spec;
extern PyType_Spec column_spec;
extern PyType_Spec datagram_spec;
extern PyType_Spec operation_spec;
extern PyType_Spec raw_socket_spec;
extern PyType_Spec recording_spec;
extern PyType_Spec savefile_reader_spec;

/* errors.c */
int errors_add(PyObject *module, module_state_t *state);
PyObject *raise_failure(module_state_t *state, const failure_t *failure); /* always NULL */
/* The same for a file, without a Winsock number; the name may be NULL or None. */
PyObject *raise_file_failure(const failure_t *failure, PyObject *filename);
PyObject *raise_savefile_fault(module_state_t *state, const char *reason, uint64_t offset);

/* enumerations.c */
int enumerations_add(PyObject *module, module_state_t *state);

/* batch.c: a Batch owns its block. batch_new gives one over no datagrams; a receive makes it
 * first, so that no block can be lost for want of memory. */
typedef struct {
    PyObject_HEAD
    block_t *block;
    PyObject *weak_references;
} Batch;

Batch *batch_new(module_state_t *state);
void batch_adopt(Batch *self, block_t *block);
PyObject *batch_view(Batch *self, Py_ssize_t index);
/* A Batch of those from the index on that the filter wants; NULL wants everything. */
Batch *batch_behind(Batch *self, Py_ssize_t index, const filter_t *filter);
static inline Py_ssize_t
batch_length(const Batch *self)
{
    return (Py_ssize_t)self->block->count;
}

/* batch_iterator.c: of views or, with datagrams, of Datagram objects. */
PyObject *batch_iterator_new(module_state_t *state, Batch *batch, bool datagrams);

/* column.c: a memoryview over the records of a batch, or over one member of each. */
typedef struct column_layout column_layout_t;
extern const column_layout_t column_records, column_timestamps, column_offsets, column_lengths;
PyObject *column_view(module_state_t *state, Batch *batch, const column_layout_t *layout);

/* datagram.c */
typedef struct {
    PyObject_HEAD
    Batch *batch;
    Py_ssize_t index;
} Datagram;

PyObject *datagram_new(module_state_t *state, Batch *batch, Py_ssize_t index);
static inline const record_t *
datagram_record(const Datagram *self)
{
    return &self->batch->block->records[self->index];
}

/* recycled_view.c: makes a view of one datagram the view of another of the same batch. False, and
 * nothing done, if anybody but the caller may see the difference, or where CPython's memoryview is
 * not one that is known. */
bool recycled_view_move(PyObject *view, Py_ssize_t index);

/* replay_source.c: what RawSocket.replay was given. Blocks that open() did not take are freed. */
int replay_source_fill(replay_source_t *source, module_state_t *state, PyObject *datagrams,
                       PyObject *faults, uint32_t snaplen, PyObject *batch_size);
void replay_source_clear(replay_source_t *source);

/* raw_socket_options.c */
int raw_socket_parse_backend(PyObject *object, const char **name); /* None is NULL */
int raw_socket_parse_numbers(PyObject *protocol, PyObject *buffer_size, double latency,
                             channel_options_t *options);
int raw_socket_parse_fanout(PyObject *object, channel_options_t *options); /* None is no group */
/* The text of `where` belongs to *keep, which is a new reference or NULL, also after a failure. */
int raw_socket_parse_interface(PyObject *object, interface_choice_t *where, PyObject **keep);

/* raw_socket.c */
intptr_t raw_socket_descriptor(const struct RawSocket *self);
/* A new reference; NULL without an exception if there is none. */
struct RawSocket *raw_socket_find(module_state_t *state, intptr_t descriptor);
/* Without the GIL. */
int raw_socket_control(struct RawSocket *self, uint32_t code, const void *input, size_t input_size,
                       void *output, size_t output_size, size_t *returned, failure_t *failure);

/* control.c: what ioctl(), RawSocket.ioctl() and Operation() are given, and the call itself. */
typedef struct {
    struct RawSocket *own; /* a reference; NULL for any other descriptor */
    intptr_t descriptor;
} control_target_t;

typedef struct {
    uint32_t code;
    Py_buffer input; /* to be released */
    Py_ssize_t output_size;
} control_request_t;

int control_parse(module_state_t *state, PyObject *arguments, control_target_t *target,
                  control_request_t *request);
PyObject *control_run(module_state_t *state, const control_target_t *target,
                      control_request_t *request);
PyObject *control_own(module_state_t *state, struct RawSocket *own, PyObject *arguments);
PyObject *control_function(PyObject *module, PyObject *arguments);

/* options.c: arguments that several types take. */
int parse_integer(PyObject *object, long long smallest, long long largest, const char *complaint,
                  long long *value); /* ValueError(complaint) if it is out of range */
int parse_snaplen(PyObject *object, void *snaplen);          /* uint32_t; None is UINT32_MAX */
int parse_filter(PyObject *object, filter_t **filter);       /* None is NULL; to be freed */
int parse_deadline(PyObject *timeout, int64_t *deadline_ns); /* seconds; None is INT64_MAX */
/* The same, as the one argument of a call, which may be left out. */
int parse_timeout(PyObject *args, PyObject *kwargs, const char *format, int64_t *deadline_ns);
int parse_family(module_state_t *state, PyObject *object, enum ip_family *family);

/* interfaces.c */
PyObject *interfaces_function(PyObject *module, PyObject *ignored);

#endif
