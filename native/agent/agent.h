/* The agent: one link to the keeper, and a job for each of its channels. */
#ifndef WIRT_AGENT_AGENT_H
#define WIRT_AGENT_AGENT_H

#include "given.h"
#include "job.h"

#include <sys/types.h>

struct agent {
    struct link link;
    struct wire_record incoming; /* the record that is being received */
    struct wire_record config;
    struct job *jobs;
    size_t job_count;
    int signals;                      /* signalfd for SIGCHLD */
    int initramfs;                    /* its root directory, for modules; -1 without one */
    int root;                         /* see CHILD_ROOT */
    int upper;                        /* see CHILD_UPPER */
    int lower;                        /* see CHILD_LOWER */
    int listeners[GIVEN_SOCKETS_MAX]; /* sockets that were given, see CHILD_LISTENER */
    pid_t main_pid;
    int64_t main_ended_at; /* monotonic ms; 0 while the guest's main process runs */
    int64_t late_at;       /* when the modules that can wait are due; 0: never */
    bool machine;          /* process 1 of a machine: may mount, configure and power off */
    bool greeted;          /* HELLO was sent */
    bool configured;
    bool leaving; /* the machine is to be switched off */
};

/* Talks to the keeper until the guest ended, the keeper is gone or it asks for the end. */
void serve(struct agent *agent);

/* Acts on one frame or one whole record. */
void dispatch(struct agent *agent, const struct wire_frame *frame);

/* Answers a CALL. */
void dispatch_call(struct agent *agent, uint32_t channel);

/* Starts a child and its job; answers with ERROR when that fails. */
void start_job(struct agent *agent, uint32_t channel, enum job_kind kind, struct order *order,
               child_body *body);

/* The job of a channel that is not over, or NULL. */
struct job *find_job(struct agent *agent, uint32_t channel);

void send_failure(struct agent *agent, uint32_t channel, const struct failure *why);

/* Mounts, network, names: everything of CONFIG that comes before the main process. */
int configure(struct agent *agent, struct failure *why);

/* Kills every process but the agent. Without a machine around it: only the jobs. */
void kill_all(struct agent *agent);

/* Monotonic milliseconds. */
int64_t monotonic(void);

#endif
