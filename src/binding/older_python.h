/* What newer CPythons have and the older ones lack. */
#ifndef WINSOCKCTL_OLDER_PYTHON_H
#define WINSOCKCTL_OLDER_PYTHON_H

#include <Python.h>

#if PY_VERSION_HEX < 0x030C0000

static inline PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
}

static inline void
PyErr_SetRaisedException(PyObject *exception)
{
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
}

#endif

#if PY_VERSION_HEX < 0x030D0000

/* There is always a GIL. */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#define Py_BEGIN_CRITICAL_SECTION2(first, second) {
#define Py_END_CRITICAL_SECTION2() }

static inline int
PyDict_GetItemRef(PyObject *dict, PyObject *key, PyObject **value)
{
    *value = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    return *value != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
}

static inline int
PyWeakref_GetRef(PyObject *reference, PyObject **object)
{
    PyObject *borrowed = PyWeakref_GetObject(reference);
    *object = borrowed == NULL || borrowed == Py_None ? NULL : Py_NewRef(borrowed);
    return *object != NULL ? 1 : borrowed == NULL ? -1 : 0;
}

#endif

#endif
