/*
 * A job: one channel of the link and the child behind it. Streams flow under credit in both
 * directions, so a slow reader holds back only the one who writes to it.
 */
#ifndef WIRT_AGENT_JOB_H
#define WIRT_AGENT_JOB_H

#include "child.h"
#include "link.h"

#include <poll.h>

#define JOBS_MAX 256
/* A report of a child (a RESULT with many rows, for example) in bytes. */
#define REPORT_MAX (WIRE_RECORD_MAX + (1u << 16))

enum job_kind { JOB_MAIN, JOB_EXEC, JOB_CALL };

struct bytes {
    uint8_t *data;
    size_t start, end, capacity;
};

struct job {
    struct job *next;
    uint32_t channel;
    enum job_kind kind;
    struct child child; /* pid is 0 when it was reaped */
    int status;         /* of waitpid(2) */
    bool terminal;
    bool started;    /* STARTED was sent (programs) */
    bool over;       /* EXIT, RESULT or ERROR was sent */
    bool ended[2];   /* EOF of stdout and stderr was sent; what is still written is thrown away */
    uint32_t credit; /* bytes that the keeper can take */
    uint32_t owed;   /* bytes of input used up and not yet given back as credit */
    struct bytes input, report;
    bool input_ended;
    int64_t reaped_at; /* monotonic, in milliseconds */
};

/* Makes a job for a child that runs. NULL when there is no memory. */
struct job *job_new(uint32_t channel, enum job_kind kind, const struct child *child, bool terminal);
void job_free(struct job *job);

/* Adds what the job waits for; returns how many entries (at most 4) were written. */
size_t job_poll(const struct job *job, bool link_busy, struct pollfd *out);

/* Moves bytes in all directions as far as possible without waiting. `now`: ms, monotonic. */
void job_pump(struct job *job, struct link *link, int64_t now);

/* Input from the keeper. False when the keeper sent more than it may. */
bool job_input(struct job *job, const void *bytes, size_t length);

/* The child ended. */
void job_reaped(struct job *job, int status, int64_t now);

/* Sends the job's last word when all is said; true when the job was over by now. */
bool job_conclude(struct job *job, struct link *link);

/* Whether it can be forgotten: over, reaped and nobody holds its output open. */
bool job_done(const struct job *job);

/* Milliseconds until the job must be looked at although nothing happens, or -1. */
int job_timeout(const struct job *job, int64_t now);

#endif
