/* Files that are written: linux_file.c, windows_file.c. A failure carries the system's errno. */
#ifndef WINSOCKCTL_FILE_H
#define WINSOCKCTL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"

/* Buffers, positions and sizes of direct writes are multiples of this. */
#define FILE_ALIGNMENT 4096

typedef struct {
    int descriptor;
    bool owned;
    bool direct; /* past the page cache, which costs more than all else of a recording */
} file_t;

/* Creates the file or empties it, direct if that is wanted and the file system can. -1, with EINTR
 * also after a signal. The path is in UTF-8 on Windows. */
int file_create(file_t *file, const char *path, bool direct, failure_t *failure);

/* write(2): bytes written, or -1; an interruption by a signal before the first byte is 0. A direct
 * file that cannot take these bytes directly is not direct any more. */
int64_t file_write(file_t *file, const void *bytes, size_t size, failure_t *failure);

/* Goes back in a file that was direct before its last bytes were written, so that they can be
 * written once more with what comes behind them. False if that cannot be. */
bool file_go_back(file_t *file, size_t size);

/* Cuts a regular file whose last `size` bytes are not wanted; anything else is left alone. */
void file_cut(file_t *file, uint64_t size);

/* Closes the file if it is owned. */
int file_close(file_t *file, failure_t *failure);

void file_remove(const char *path);

void *file_buffer_new(size_t size); /* aligned; NULL when there is no memory */
void file_buffer_free(void *buffer);

#define FILE_STAMP_SIZE 15 /* with the null */
/* The local time as 20261121120000. */
void file_stamp(char out[FILE_STAMP_SIZE]);

#endif
