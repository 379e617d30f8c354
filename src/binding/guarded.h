/* Methods that have an object to themselves.
 *
 * Where there is a GIL it sees to that. Without one, each method that uses members of an object
 * that change holds the object's critical section; as the GIL, it is let go of by whoever lets go
 * of the interpreter. https://docs.python.org/3/c-api/init.html#python-critical-section-api
 */
#ifndef WINSOCKCTL_GUARDED_H
#define WINSOCKCTL_GUARDED_H

#include "binding/older_python.h"

/* Of a method without keywords, or of a getter, whose argument is its closure. */
#define GUARDED(TYPE, NAME, ARGUMENT)                                                              \
    static PyObject *NAME##_guarded(TYPE *self, ARGUMENT *argument)                                \
    {                                                                                              \
        PyObject *result;                                                                          \
        Py_BEGIN_CRITICAL_SECTION((PyObject *)self);                                               \
        result = NAME(self, argument);                                                             \
        Py_END_CRITICAL_SECTION();                                                                 \
        return result;                                                                             \
    }

#define GUARDED_METHOD(TYPE, NAME) GUARDED(TYPE, NAME, PyObject)
#define GUARDED_GETTER(TYPE, NAME) GUARDED(TYPE, NAME, void)

#define GUARDED_KEYWORDS(TYPE, NAME)                                                               \
    static PyObject *NAME##_guarded(TYPE *self, PyObject *args, PyObject *kwargs)                  \
    {                                                                                              \
        PyObject *result;                                                                          \
        Py_BEGIN_CRITICAL_SECTION((PyObject *)self);                                               \
        result = NAME(self, args, kwargs);                                                         \
        Py_END_CRITICAL_SECTION();                                                                 \
        return result;                                                                             \
    }

#endif
