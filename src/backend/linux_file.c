#include "backend/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

static int
fail_file(failure_t *failure, const char *call)
{
    *failure = (failure_t){.system_error = errno, .call = call, .hint = ""};
    return -1;
}

static void
set_direct(file_t *file, bool direct)
{
    int flags = fcntl(file->descriptor, F_GETFL);
    int wanted = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
    file->direct = flags >= 0 && fcntl(file->descriptor, F_SETFL, wanted) == 0 && direct;
}

static bool
is_regular(const file_t *file)
{
    struct stat status;
    return fstat(file->descriptor, &status) == 0 && S_ISREG(status.st_mode);
}

int
file_create(file_t *file, const char *path, bool direct, failure_t *failure)
{
    *file = (file_t){
        .descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666),
        .owned = true,
    };
    if (file->descriptor < 0) {
        return fail_file(failure, "open");
    }
    if (direct && is_regular(file)) {
        set_direct(file, true);
    }
    return 0;
}

int64_t
file_write(file_t *file, const void *bytes, size_t size, failure_t *failure)
{
    if (file->direct && (size % FILE_ALIGNMENT != 0 || (uintptr_t)bytes % FILE_ALIGNMENT != 0)) {
        set_direct(file, false);
    }
    ssize_t written = write(file->descriptor, bytes, size);
    if (written < 0 && errno != EINTR && file->direct) {
        /* The file system has a larger alignment, or there is room for a part only. */
        set_direct(file, false);
        written = write(file->descriptor, bytes, size);
    }
    if (written < 0 && errno == EINTR) {
        return 0;
    }
    return written < 0 ? fail_file(failure, "write") : written;
}

bool
file_go_back(file_t *file, size_t size)
{
    if (lseek(file->descriptor, -(off_t)size, SEEK_CUR) < 0) {
        return false;
    }
    set_direct(file, true);
    return true;
}

void
file_cut(file_t *file, uint64_t size)
{
    off_t end = lseek(file->descriptor, 0, SEEK_CUR);
    if (end >= 0 && is_regular(file) && (uint64_t)end >= size &&
        ftruncate(file->descriptor, end - (off_t)size) == 0) {
        lseek(file->descriptor, end - (off_t)size, SEEK_SET);
    }
}

int
file_close(file_t *file, failure_t *failure)
{
    /* close(2) frees the descriptor also when it fails. */
    int result = file->owned && close(file->descriptor) < 0 ? fail_file(failure, "close") : 0;
    file->descriptor = -1;
    return result;
}

void
file_remove(const char *path)
{
    unlink(path);
}

void *
file_buffer_new(size_t size)
{
    void *buffer;
    bool large = size >= HUGE_PAGE;
    if (posix_memalign(&buffer, large ? HUGE_PAGE : FILE_ALIGNMENT, size) != 0) {
        return NULL;
    }
    if (large) {
        /* A write has to find the page of each address, and it is a third of what it costs. */
        madvise(buffer, size, MADV_HUGEPAGE);
    }
    return buffer;
}

void
file_buffer_free(void *buffer)
{
    free(buffer);
}

void
file_stamp(char out[FILE_STAMP_SIZE])
{
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    strftime(out, FILE_STAMP_SIZE, "%Y%m%d%H%M%S", &local);
}
