/* What a SavefileReader knows of its file so far. */
#include "binding/savefile_reader.h"

#include <stdlib.h>

/* A copy on the heap of what was described so far. The texts stay where they are for as long as the
 * reader lives. NULL with an exception. */
static savefile_interface_t *
copy_interfaces(SavefileReader *self, size_t *count)
{
    savefile_reader_lock(self);
    *count = self->reader.interface_count;
    savefile_interface_t *copy = malloc((*count + 1) * sizeof *copy);
    if (copy != NULL && *count > 0) {
        memcpy(copy, self->reader.interfaces, *count * sizeof *copy);
    }
    savefile_reader_unlock(self);
    if (copy == NULL) {
        PyErr_NoMemory();
    }
    return copy;
}

const char savefile_reader_statistics_doc[] = PyDoc_STR(
    "statistics($self, /)\n--\n\n"
    "Return (received, dropped, truncated, bytes, passed_over) so far; dropped is what the\n"
    "file tells of its capture, None if it does not.");

PyObject *
savefile_reader_statistics(SavefileReader *self, PyObject *Py_UNUSED(ignored))
{
    size_t count;
    savefile_interface_t *interfaces = copy_interfaces(self, &count);
    if (interfaces == NULL) {
        return NULL;
    }
    uint64_t dropped = 0;
    bool told = false;
    for (size_t i = 0; i < count; i++) {
        if (interfaces[i].dropped >= 0) {
            dropped += (uint64_t)interfaces[i].dropped;
            told = true;
        }
    }
    free(interfaces);
    PyObject *lost = told ? PyLong_FromUnsignedLongLong(dropped) : Py_NewRef(Py_None);
    return Py_BuildValue("(KNKK)", (unsigned long long)self->received, lost,
                         (unsigned long long)self->truncated, (unsigned long long)self->bytes);
}

static PyObject *
decode(const char *text)
{
    return text == NULL ? Py_NewRef(Py_None)
                        : PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

static PyObject *
savefile_reader_get_interfaces(SavefileReader *self, void *Py_UNUSED(closure))
{
    size_t count;
    savefile_interface_t *interfaces = copy_interfaces(self, &count);
    PyObject *tuple = interfaces == NULL ? NULL : PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; tuple != NULL && i < count; i++) {
        const savefile_interface_t *interface = &interfaces[i];
        PyObject *item =
            Py_BuildValue("(NNNII)", decode(interface->name), decode(interface->description),
                          decode(interface->filter), interface->link_type, interface->snaplen);
        if (item == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, item);
        }
    }
    free(interfaces);
    return tuple;
}

static PyObject *
savefile_reader_get_comment(SavefileReader *self, void *Py_UNUSED(closure))
{
    savefile_reader_lock(self);
    const char *comment = self->reader.comment;
    savefile_reader_unlock(self);
    return decode(comment);
}

static PyObject *
savefile_reader_get_passed_over(SavefileReader *self, void *Py_UNUSED(closure))
{
    savefile_reader_lock(self);
    uint64_t passed_over = self->selection.passed_over;
    savefile_reader_unlock(self);
    return PyLong_FromUnsignedLongLong(passed_over);
}

static PyObject *
savefile_reader_get_position(SavefileReader *self, void *Py_UNUSED(closure))
{
    savefile_reader_lock(self);
    uint64_t position = self->reader.position;
    savefile_reader_unlock(self);
    return PyLong_FromUnsignedLongLong(position);
}

static PyObject *
savefile_reader_get_byte_order(SavefileReader *self, void *Py_UNUSED(closure))
{
    savefile_reader_lock(self);
    bool big_endian = self->reader.big_endian;
    savefile_reader_unlock(self);
    return PyUnicode_FromString(big_endian ? "big" : "little");
}

static PyObject *
savefile_reader_get_format(SavefileReader *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(self->reader.format == SAVEFILE_PCAP ? "pcap" : "pcapng");
}

static PyObject *
savefile_reader_get_backend(SavefileReader *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyUnicode_FromString("savefile");
}

static PyObject *
savefile_reader_get_buffer_size(SavefileReader *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(self->buffer_size);
}

static PyObject *
savefile_reader_get_closed(SavefileReader *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->closing);
}

static PyObject *
savefile_reader_get_ended(SavefileReader *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->ended);
}

GUARDED_GETTER(SavefileReader, savefile_reader_get_interfaces)
GUARDED_GETTER(SavefileReader, savefile_reader_get_comment)
GUARDED_GETTER(SavefileReader, savefile_reader_get_passed_over)
GUARDED_GETTER(SavefileReader, savefile_reader_get_position)
GUARDED_GETTER(SavefileReader, savefile_reader_get_byte_order)
GUARDED_GETTER(SavefileReader, savefile_reader_get_closed)
GUARDED_GETTER(SavefileReader, savefile_reader_get_ended)

PyGetSetDef savefile_reader_getset[] = {
    {"backend", (getter)savefile_reader_get_backend, NULL, "Always 'savefile'.", NULL},
    {"buffer_size", (getter)savefile_reader_get_buffer_size, NULL,
     "Bytes of the file that are mapped, or that a stream is asked for at a time.", NULL},
    {"byte_order", (getter)savefile_reader_get_byte_order_guarded, NULL,
     "'little' or 'big'; of a pcapng file that of the present section.", NULL},
    {"closed", (getter)savefile_reader_get_closed_guarded, NULL, "Whether ``close()`` was called.",
     NULL},
    {"comment", (getter)savefile_reader_get_comment_guarded, NULL,
     "The comment of the first section that has one, or None.", NULL},
    {"ended", (getter)savefile_reader_get_ended_guarded, NULL,
     "Whether there are no more datagrams.", NULL},
    {"format", (getter)savefile_reader_get_format, NULL, "'pcap' or 'pcapng'.", NULL},
    {"interfaces", (getter)savefile_reader_get_interfaces_guarded, NULL,
     "(name, description, filter, link_type, snaplen) of each interface that was\n"
     "described so far.",
     NULL},
    {"passed_over", (getter)savefile_reader_get_passed_over_guarded, NULL,
     "Packets so far that are neither IPv4 nor IPv6 (contract R8).", NULL},
    {"position", (getter)savefile_reader_get_position_guarded, NULL,
     "Bytes of the file (uncompressed) that were read so far.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
