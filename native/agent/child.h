/* A child process of the agent: the guest's programs, and work on files that may take long. */
#ifndef WIRT_AGENT_CHILD_H
#define WIRT_AGENT_CHILD_H

#include "../wire/wire.h"
#include "failure.h"

#include <sys/types.h>

/* Descriptors of a child beyond its standard streams. */
enum {
    CHILD_REPORT = 3,   /* pipe to the agent for one record, as frames: STARTED, ERROR or RESULT */
    CHILD_ROOT = 4,     /* the guest's root as it is without the mounts upon it, always writable */
    CHILD_UPPER = 5,    /* what the guest has changed of its image, an overlay's upper directory */
    CHILD_LOWER = 6,    /* that image */
    CHILD_LISTENER = 7, /* the socket of a call for its next connection */
    CHILD_END = 8,
};

/* What a child is to do. */
struct order {
    uint32_t channel;
    const struct wire_record *request; /* SPAWN, CALL or CONFIG */
    const struct wire_record *config;
    int root;       /* becomes CHILD_ROOT */
    int upper;      /* becomes CHILD_UPPER */
    int lower;      /* becomes CHILD_LOWER */
    int listener;   /* becomes CHILD_LISTENER; 0: none */
    bool terminal;  /* standard streams are a new terminal */
    bool has_input; /* standard input is a pipe, else /dev/null */
    bool has_output, has_error;
};

/* The agent's ends. -1 where there is none; `in` and `out` are both the terminal's master. */
struct child {
    pid_t pid;
    int in, out, err, report;
};

/* Runs in the child and must not return; it says its one word on CHILD_REPORT. */
typedef void child_body(const struct order *order);

/* Starts a child. 0, or -errno and nothing is left. */
int child_start(const struct order *order, child_body *body, struct child *out);

/* For bodies: report a record, or a failure, and for the latter end the process. */
void child_report(const struct order *order, uint8_t type, struct wire_record *record);
_Noreturn void child_fail(const struct order *order, const struct failure *why);

/* The body that becomes the program of the request (SPAWN or CONFIG). */
void child_program(const struct order *order);

/* Sets a terminal's size; 0 leaves a dimension as it is. */
void set_size(int terminal, int64_t rows, int64_t columns);

#endif
