/* A recording: one savefile, or a ring of them, that is written in large pieces.
 *
 * Nothing of it is locked; the caller sees to it that one thread at a time is inside.
 */
#ifndef WINSOCKCTL_RECORDING_H
#define WINSOCKCTL_RECORDING_H

#include "backend/file.h"
#include "core/block.h"
#include "core/pcapng_write.h"
#include "core/savefile.h"

/* The texts stay the caller's and stay there until recording_free(). */
typedef struct {
    enum savefile_format format;
    pcapng_description_t description;
    const char *path;   /* NULL for the descriptor; with `numbered` what stands before the number */
    const char *suffix; /* behind the time stamp of a numbered file */
    int descriptor;
    bool direct;           /* if the file system can */
    bool numbered;         /* names as path_00001_20261121120000suffix */
    uint64_t rotate_size;  /* bytes of a file; UINT64_MAX does not rotate, as below */
    uint64_t rotate_count; /* datagrams of a file */
    int64_t rotate_ns;     /* INT64_MAX does not rotate */
    uint64_t files;        /* to keep; 0 keeps all */
    /* Asked after a signal; true ends the call, with no call in the failure. */
    bool (*interrupted)(void *context);
    void *context;
} recording_options_t;

typedef struct {
    recording_options_t options;
    file_t file;
    bool open;
    uint8_t *buffer;
    uint8_t *stage;          /* what comes next into the buffer, or its end that is not there yet */
    size_t filled;           /* of the buffer, with what is staged */
    uint64_t position;       /* in the file, of the buffer's first byte */
    uint64_t record_start;   /* in the file, of the last record that was begun */
    uint64_t record_end;     /* also if it is not complete yet */
    bool record_is_datagram; /* and no statistics */
    uint64_t boundary; /* in the file, behind the last record that was complete at `position` */
    uint64_t carried;  /* bytes at the beginning of the buffer that end a record begun before */
    bool carried_is_datagram;
    uint64_t datagrams_flushed; /* up to there */
    uint64_t datagrams_at_start;
    uint64_t bytes_at_start;
    bool stale;             /* the buffer holds what was not written, since: */
    int64_t stale_since_ns; /* monotonic */
    int64_t file_began_ns;  /* monotonic */
    int64_t file_start_ns;  /* since 1970-01-01 UTC */
    unsigned number;        /* of the file */
    char **names;           /* of the files that are kept; none for a descriptor */
    size_t name_count;
    uint64_t datagrams;
    uint64_t bytes;       /* of all files, also of those that were removed */
    uint64_t bytes_limit; /* recording_write() stops before more */
    int64_t received;     /* for the statistics block, as in pcapng_statistics_t */
    int64_t dropped;
} recording_t;

/* Begins the first file. On -1 it is closed, and to be freed. */
int recording_open(recording_t *recording, const recording_options_t *options, failure_t *failure);

/* Writes datagrams of a block; *written tells how many fitted into bytes_limit. After a failure
 * the file ends with its last whole datagram and is closed, and the counts are of what it holds. */
int recording_write(recording_t *recording, const block_t *block, size_t count, size_t *written,
                    failure_t *failure);

/* Writes what is still in the buffer. */
int recording_flush(recording_t *recording, failure_t *failure);

/* The same if something has been in the buffer for a second. */
int recording_flush_old(recording_t *recording, failure_t *failure);

/* Writes the statistics and what is in the buffer, and closes the file; again does nothing. */
int recording_close(recording_t *recording, failure_t *failure);

void recording_free(recording_t *recording);

#endif
