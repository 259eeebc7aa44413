/* wirt-load: an office service that can be measured. See main.c for its words.
 *
 * Times are microseconds of the monotonic clock unless a name says otherwise. */
#ifndef WIRT_LOAD_H
#define WIRT_LOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LOAD_BLOCK 65536U /* what a request touches at once, in bytes */
#define LOAD_POINTS 64
#define LOAD_MOST_REQUESTS 4000000U
#define LOAD_LOST (-1)

/* --- a figure that changes over the day ----------------------------------------------------- */

struct profile {
    size_t count;
    double hour[LOAD_POINTS]; /* rising, from 0 to 24 */
    double value[LOAD_POINTS];
};

/* Reads "7=9,7.5=175,24=9". Returns 0, or -EINVAL: no points, hours that do not rise or lie outside
 * of 0 to 24, values below zero. */
int profile_read(struct profile *profile, const char *text);

/* The value at an hour: a straight line between two points, level before the first and after the
 * last; 0 without points. */
double profile_at(const struct profile *profile, double hour);
double profile_most(const struct profile *profile);

/* --- chance --------------------------------------------------------------------------------- */

/* The same numbers everywhere: none of them is made by the C library. */
uint64_t chance_next(uint64_t *state);
double chance_unit(uint64_t *state); /* above 0, at most 1 */

/* --- the schedule --------------------------------------------------------------------------- */

struct schedule {
    size_t count;
    uint64_t *at; /* microseconds since the start of the day, rising */
};

/* Poisson arrivals of a day of `day` seconds at `rate` requests a second. Returns 0, -E2BIG for
 * more than LOAD_MOST_REQUESTS, -ENOMEM. */
int schedule_make(struct schedule *schedule, const struct profile *rate, double day, uint64_t seed);
void schedule_free(struct schedule *schedule);

/* --- work ----------------------------------------------------------------------------------- */

/* A fixed amount of work, whatever it costs. */
void work_burn(uint64_t iterations);

/* Iterations that take `cost` microseconds on this processor now: the quickest of some tries. */
uint64_t work_calibrate(unsigned cost);

/* --- data ----------------------------------------------------------------------------------- */

struct data {
    unsigned anonymous; /* percent of the working set that is memory and not file */
    bool give_back;     /* memory beyond the present working set is freed */
    int fd;             /* -1: no file */
    size_t file_blocks;
    unsigned char *memory; /* NULL: none */
    size_t memory_blocks;
    size_t given_back; /* blocks of memory from here on are free */
};

/* Makes what the largest working set of `blocks` needs; the file at `path` is written unless it has
 * the right size, and stays in the cache as far as there is room. Returns 0 or -errno. */
int data_prepare(struct data *data, const char *path, size_t blocks);

/* Touches one block of a working set of `blocks`, chosen by `choice`. `buffer` has LOAD_BLOCK
 * bytes. Returns 0 or -errno. */
int data_touch(const struct data *data, size_t blocks, uint64_t choice, unsigned char *buffer);

/* Touches every block of a working set once, in order. Returns 0 or -errno. */
int data_warm(const struct data *data, size_t blocks, unsigned char *buffer);

/* Frees memory that a working set of `blocks` does not need, where that is wanted. */
void data_shrink(struct data *data, size_t blocks);

/* Reads the whole file once, in order; ends early when `stop` is set. Returns 0 or -errno. */
int data_stream(const struct data *data, unsigned char *buffer, const bool *stop);

void data_close(struct data *data);

/* --- serving -------------------------------------------------------------------------------- */

struct service {
    /* what is asked for */
    struct profile rate; /* requests a second */
    struct profile set;  /* MiB of working set */
    double day;          /* seconds */
    uint64_t seed;
    uint64_t iterations; /* of a request, after it has touched its data */
    unsigned touches;
    unsigned workers;
    unsigned hogs;     /* threads that burn all they get */
    bool stream;       /* read the whole file over and over */
    uint64_t patience; /* a request that begins later than this is lost */
    uint64_t offset;   /* how old the day is when it begins here; what was earlier is left out */
    /* what there is */
    struct schedule schedule;
    struct data data;
    /* what happens */
    uint64_t began;
    pthread_mutex_t lock; /* of the next four */
    size_t next;
    size_t ended;
    uint32_t *order;  /* numbers of requests in the order of their ends */
    int32_t *latency; /* from the scheduled arrival, LOAD_LOST when nobody waited any more */
    bool stop;        /* atomic; for hogs and streams */
    int trouble;      /* atomic; the first -errno of a worker */
};

/* Blocks of the working set at a moment since the start of the day. */
size_t service_blocks(const struct service *service, uint64_t at);
size_t service_most_blocks(const struct service *service);

/* Requests that come before the day begins here. */
size_t service_missed(const struct service *service);

/* Microseconds that touching the data of one request takes when all of it is there: the quickest of
 * some tries. Returns -errno when it fails. */
int64_t service_touching(const struct service *service, unsigned char *buffer);

/* Serves the whole schedule and tells of it on `out`, once a second. Returns 0 or -errno; -EINTR
 * when SIGTERM or SIGINT, which the caller has blocked, came first: then threads are left, and the
 * caller ends the process. */
int service_run(struct service *service, FILE *out);

uint64_t now(void);

/* --- telling -------------------------------------------------------------------------------- */

/* Tells of the requests that ended since `*told`, as {"done":[[arrival,latency],...]} lines. */
void report_ends(struct service *service, size_t *told, FILE *out);
void report_end(struct service *service, size_t offered, FILE *out);

#endif
