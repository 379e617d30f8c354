#include "backend/file.h"

#include <windows.h>

#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int
fail_file(failure_t *failure, const char *call)
{
    *failure = (failure_t){.system_error = errno, .call = call, .hint = ""};
    return -1;
}

/* To be freed; NULL if it is no UTF-8 or there is no memory. */
static wchar_t *
wide(const char *path)
{
    int length = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    wchar_t *text = length > 0 ? malloc((size_t)length * sizeof *text) : NULL;
    if (text != NULL) {
        MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, text, length);
    }
    return text;
}

/* The system's cache is used whatever is wanted: FILE_FLAG_NO_BUFFERING would be the other way. */
int
file_create(file_t *file, const char *path, bool direct, failure_t *failure)
{
    (void)direct;
    *file = (file_t){.descriptor = -1, .owned = true};
    wchar_t *text = wide(path);
    if (text == NULL) {
        errno = EINVAL;
        return fail_file(failure, "open");
    }
    file->descriptor = _wopen(text, _O_WRONLY | _O_CREAT | _O_TRUNC | _O_BINARY | _O_NOINHERIT,
                              _S_IREAD | _S_IWRITE);
    int result = file->descriptor < 0 ? fail_file(failure, "open") : 0;
    free(text);
    return result;
}

int64_t
file_write(file_t *file, const void *bytes, size_t size, failure_t *failure)
{
    int written = _write(file->descriptor, bytes, size > INT_MAX ? INT_MAX : (unsigned)size);
    if (written < 0 && _doserrno == ERROR_NO_DATA) {
        errno = EPIPE; /* of a pipe that nobody reads any more the C library makes EINVAL */
    }
    return written < 0 ? fail_file(failure, "write") : written;
}

bool
file_go_back(file_t *file, size_t size)
{
    (void)file;
    (void)size;
    return false;
}

void
file_cut(file_t *file, uint64_t size)
{
    struct _stat64 status;
    int64_t end = _lseeki64(file->descriptor, 0, SEEK_CUR);
    if (end >= 0 && _fstat64(file->descriptor, &status) == 0 && (status.st_mode & _S_IFREG) != 0 &&
        (uint64_t)end >= size && _chsize_s(file->descriptor, end - (int64_t)size) == 0) {
        _lseeki64(file->descriptor, end - (int64_t)size, SEEK_SET);
    }
}

int
file_close(file_t *file, failure_t *failure)
{
    int result = file->owned && _close(file->descriptor) < 0 ? fail_file(failure, "close") : 0;
    file->descriptor = -1;
    return result;
}

void
file_remove(const char *path)
{
    wchar_t *text = wide(path);
    if (text != NULL) {
        _wunlink(text);
    }
    free(text);
}

void *
file_buffer_new(size_t size)
{
    return _aligned_malloc(size, FILE_ALIGNMENT);
}

void
file_buffer_free(void *buffer)
{
    _aligned_free(buffer);
}

void
file_stamp(char out[FILE_STAMP_SIZE])
{
    SYSTEMTIME now;
    GetLocalTime(&now);
    snprintf(out, FILE_STAMP_SIZE, "%04u%02u%02u%02u%02u%02u", now.wYear % 10000u,
             now.wMonth % 100u, now.wDay % 100u, now.wHour % 100u, now.wMinute % 100u,
             now.wSecond % 100u);
}
