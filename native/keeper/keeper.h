/*
 * The keeper: one small process beside each running guest that holds its standard streams, its log
 * and its exit status (docs/reference/keeper-protocol.md).
 *
 * One thread, one epoll set. Nothing blocks but the log's regular files and the short life of the
 * keeper's own set-up; nothing grows without bound. Objects that end are marked `dead` and freed by
 * keeper_sweep() between two rounds of the loop, so that a callback may end anything it likes.
 */
#ifndef WIRT_KEEPER_H
#define WIRT_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../wire/wire.h"

#define CHUNK 65536u              /* one read, one log record, one frame for a client */
#define CLIENT_PAUSE (640u << 10) /* queued for a client: the guest's output is no longer read */
#define CLIENT_RESUME (256u << 10)
#define CLIENT_MAX (1u << 20)
#define CONNECTIONS_MAX 64
#define TASKS_MAX 128
#define CLIENTS_MAX 64 /* of one task */
#define ID_MAX 64
#define KEYS_MAX 32
#define MESSAGE_MAX 512

struct keeper;
struct task;

/* --- loop.c: descriptors, time ---------------------------------------------------------------- */

struct source {
    int fd; /* -1: closed */
    uint32_t events;
    void (*ready)(struct keeper *keeper, struct source *source, uint32_t events);
};

#define of_source(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

typedef void (*source_ready)(struct keeper *, struct source *, uint32_t);

/* Takes over `fd` and makes it non-blocking. With no events it is not watched yet. */
int source_open(struct keeper *keeper, struct source *source, int fd, uint32_t events,
                source_ready ready);
/* No events: not even errors are reported. EPOLLERR alone: only errors and hang-ups. */
void source_watch(struct keeper *keeper, struct source *source, uint32_t events);
void source_close(struct keeper *keeper, struct source *source);

int64_t clock_ms(void);      /* monotonic */
int64_t clock_wall_ns(void); /* Unix time */

/* --- buffer.c: bytes that could not be written yet ----------------------------------------------
 */

struct buffer {
    uint8_t *data;
    size_t start, end, capacity;
};

size_t buffer_size(const struct buffer *buffer);
int buffer_put(struct buffer *buffer, const void *bytes, size_t length);
/* Writes what `fd` takes. 0, or the error of write() other than EAGAIN, negative. */
int buffer_flush(struct buffer *buffer, int fd);
void buffer_drop(struct buffer *buffer, size_t length);
void buffer_free(struct buffer *buffer);

/* --- conf.c -------------------------------------------------------------------------------------
 */

struct conf {
    struct wire_record record;
    const char *id;
    bool machine, tty, with_stdin, stdin_once;
    const char *engine_log, *log, *oom, *console_log, *agent_config;
    int64_t log_size, log_files, agent_fd, listen_fd;
};

/* Reads keeper.conf of the working directory. 0, or negative with the reason on stderr. */
int conf_read(struct conf *conf);

/* --- log.c --------------------------------------------------------------------------------------
 */

struct log {
    int fd;
    int64_t size, size_max;
    int files;
    uint64_t lost;
    int lost_errno;
    bool open_line[3]; /* by stream: the last record did not end with a newline */
    const char *directory;
};

void log_open(struct log *log, const struct conf *conf);
void log_close(struct log *log);
void log_write(struct log *log, int stream, const uint8_t *bytes, size_t length);

/* --- connection.c: the daemon's connections ------------------------------------------------------
 */

struct connection {
    struct connection *next;
    struct source source;
    uint64_t serial;
    struct wire_parser parser;
    struct wire_record record;
    struct buffer out;
    int descriptor; /* came with the record that is being received, or -1 */
    bool dead;
};

/* Whom to answer. The connection may be gone by then. */
struct reply {
    uint64_t serial; /* 0: nobody */
    uint32_t channel;
};

int control_open(struct keeper *keeper);
void connection_close(struct keeper *keeper, struct connection *connection);
void connection_free(struct connection *connection);
void reply_record(struct keeper *keeper, struct reply reply, const struct wire_record *record);
void reply_error(struct keeper *keeper, struct reply reply, int error, int exit_code,
                 const char *message);
void event_send(struct keeper *keeper, const struct wire_record *record);

/* --- request.c: what the daemon asks for ---------------------------------------------------------
 */

void request_run(struct keeper *keeper, struct connection *connection);

/* --- client.c: an attached client ----------------------------------------------------------------
 */

struct client {
    struct client *next;
    struct task *task;
    struct source source;
    struct buffer out;
    int64_t deadline; /* when ending: give up at this time */
    bool in_open;     /* its input is wanted and has not ended */
    bool wants[3];    /* by stream */
    bool mux, gone, ending, dead;
    uint8_t keys[KEYS_MAX];
    uint8_t key_count, key_at;
};

/* Takes over the descriptor in any case. The record is ATTACH's, EXEC's or AGENT's. */
int client_open(struct keeper *keeper, struct task *task, int fd, const struct wire_record *record);
void client_write(struct keeper *keeper, struct client *client, int stream, const uint8_t *bytes,
                  size_t length);
void client_update(struct keeper *keeper, struct client *client);
/* Deliver what is queued, then shut down and close. */
void client_finish(struct keeper *keeper, struct client *client);
void client_close(struct keeper *keeper, struct client *client);

/* --- task.c: the main process, an exec, or a call to the agent
 * ------------------------------------ */

enum task_state { TASK_WAITING, TASK_STARTING, TASK_RUNNING, TASK_ENDED, TASK_DONE };

struct task {
    struct task *next;
    char id[ID_MAX + 1];
    enum task_state state;
    bool is_main, is_call, tty, with_stdin, dead;
    struct reply reply; /* of the request that started it */
    pid_t pid;
    int64_t started; /* Unix ns */
    int code, signal;
    char error[MESSAGE_MAX];
    uint16_t rows, columns;
    int64_t deadline; /* for the state, monotonic ms, 0 for none */

    struct client *clients;
    bool paused;      /* a client is behind: output is not read */
    struct buffer in; /* input that the process has not taken yet */
    bool in_open, in_ending;

    /* container */
    pid_t engine;
    int console; /* listening console socket, or -1 */
    int errors;  /* the engine's own stderr with a tty, or -1 */
    struct source out[2];
    struct source stdin_source;

    /* machine */
    uint32_t channel;
    uint32_t credit;    /* bytes the agent can take */
    uint32_t allowance; /* bytes the agent may still send */
    uint32_t owed;      /* bytes taken from it, credit not yet given back */
    bool out_ended, answered;
};

struct task *task_new(struct keeper *keeper, const char *id);
struct task *task_find(struct keeper *keeper, const char *id);
void task_started(struct keeper *keeper, struct task *task, pid_t pid);
void task_failed(struct keeper *keeper, struct task *task, int error, int exit_code,
                 const char *message);
void task_output(struct keeper *keeper, struct task *task, int stream, const uint8_t *bytes,
                 size_t length);
/* Input from a client; only when task_wants_input(). */
bool task_wants_input(const struct task *task);
void task_input(struct keeper *keeper, struct task *task, const uint8_t *bytes, size_t length);
void task_input_flush(struct keeper *keeper, struct task *task);
/* The client's input came to its end: the process' does, too, when the rules say so. */
void task_input_ended(struct keeper *keeper, struct task *task);
/* Pauses or resumes output after a client's queue changed. */
void task_flow(struct keeper *keeper, struct task *task);
/* All output was read: deliver, tell, forget. */
void task_done(struct keeper *keeper, struct task *task);
/* Tells of the end as soon as the last client has its bytes. */
void task_settle(struct keeper *keeper, struct task *task);
void task_update_clients(struct keeper *keeper, struct task *task);
void task_free(struct keeper *keeper, struct task *task);

/* --- what carries the guest: container.c, machine.c
 * ----------------------------------------------- */

struct carrier {
    /* Begin; the end is told by task_started() or task_failed(). Negative errno: at once. */
    int (*start)(struct keeper *keeper, struct task *task);
    int (*exec)(struct keeper *keeper, struct task *task, const struct wire_record *record);
    int (*signal)(struct keeper *keeper, struct task *task, int number);
    int (*resize)(struct keeper *keeper, struct task *task);
    /* Like write(): bytes taken, -EAGAIN when task_input_flush() will be called later. */
    ssize_t (*input)(struct keeper *keeper, struct task *task, const uint8_t *bytes, size_t length);
    void (*input_end)(struct keeper *keeper, struct task *task);
    void (*flow)(struct keeper *keeper, struct task *task);
    /* A child ended. True when it was one of the carrier's own. */
    bool (*reaped)(struct keeper *keeper, pid_t pid, int status);
    /* The nth child that is known and not reaped; 0 after the last. */
    pid_t (*child)(struct keeper *keeper, size_t n);
    /* The task's deadline passed. */
    void (*expired)(struct keeper *keeper, struct task *task);
    /* The main process is over: end what still runs. */
    void (*stop)(struct keeper *keeper);
    /* The keeper ends: give back what the carrier holds itself. */
    void (*close)(struct keeper *keeper);
};

extern const struct carrier container_carrier;
extern const struct carrier machine_carrier;

int machine_call(struct keeper *keeper, struct task *task, const struct wire_record *record);
/* Whether a call takes a stream of input. */
bool machine_call_reads(const char *call);

/* --- spawn.c
 * -------------------------------------------------------------------------------------- */

struct spawn {
    const char *const *argv;
    const char *const *env;
    int stdio[3];                      /* -1: /dev/null */
    int give;                          /* becomes descriptor 3; 0 or less: none */
    const struct wire_record *inherit; /* keeps its child_fd descriptors, or NULL */
};

pid_t spawn(const struct spawn *spawn);
/* The values of `key` as a NULL-terminated vector with room for `extra` more; freed by the caller.
 */
const char **spawn_vector(const struct wire_record *record, const char *key, size_t extra);

/* --- text.c
 * --------------------------------------------------------------------------------------- */

/* The last line that is not blank, without control characters, into `out`. */
void text_last_line(const char *text, size_t length, char out[MESSAGE_MAX]);
void text_last_line_of(const char *path, char out[MESSAGE_MAX]);
/* 125, 126 or 127, as `docker run` decides it. */
int text_exit_code(const char *message);
bool text_valid_id(const char *id);
int text_write_file(const char *path, const void *bytes, size_t length);
int text_write_record(const char *path, const struct wire_record *record);
int64_t text_oom_kills(const char *path);

/* --- keeper.c
 * ------------------------------------------------------------------------------------- */

struct machine;

struct keeper {
    struct conf conf;
    struct log log;
    const struct carrier *carrier;
    struct machine *machine;
    int epoll;
    struct source signals, listener;
    int spare; /* given up for a moment to refuse a connection when descriptors run out */
    struct connection *connections;
    struct task *tasks;
    struct task *main;
    uint8_t *chunk; /* CHUNK bytes for the read under way */
    uint64_t serial;
    int64_t oom_before;
    int64_t deadline; /* the keeper's own end, at the latest */
    bool ending, over;
};

int keeper_open(struct keeper *keeper);
int keeper_run(struct keeper *keeper);
/* The main process is over and everybody knows: end soon. */
void keeper_end(struct keeper *keeper);

#endif
