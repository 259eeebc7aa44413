/*
 * Frames and records of the keeper and agent protocol, version 1
 * (docs/reference/keeper-protocol.md, sections "Frames" and "Agent link").
 *
 * The library does no input or output. Errors are returned as negative errno values: -EBADMSG for
 * bytes that break the protocol (the connection must be closed: nothing after them can be trusted),
 * -EMSGSIZE for a record above its bound, -ENOMEM. Memory is bounded by WIRE_FRAME_MAX for each
 * parser and WIRE_RECORD_MAX for each record, and taken only when bytes arrive.
 */
#ifndef WIRT_WIRE_H
#define WIRT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_HEADER 12u
#define WIRE_PAYLOAD_MAX 65536u
#define WIRE_FRAME_MAX (WIRE_HEADER + WIRE_PAYLOAD_MAX)
#define WIRE_RECORD_MAX (4u << 20)
#define WIRE_VERSION "1"

/* Flag of a frame whose record goes on in the next frame. */
#define WIRE_MORE 1u
/* Separates the fields within a value (mounts, interfaces, files, aux programs). */
#define WIRE_US '\037'
/* Bytes that each side of an agent channel may send before it is given more. */
#define WIRE_CREDIT_START 262144u

enum wire_type {
    /* control connection, daemon to keeper */
    WIRE_HELLO = 1,
    WIRE_ATTACH = 2,
    WIRE_START = 3,
    WIRE_SIGNAL = 4,
    WIRE_RESIZE = 5,
    WIRE_EXEC = 6,
    WIRE_AGENT = 7,
    /* control connection, keeper to daemon */
    WIRE_OK = 128,
    WIRE_ERROR = 129,
    WIRE_EVENT = 130,
    /* agent link */
    WIRE_A_HELLO = 20,
    WIRE_A_STARTED = 21,
    WIRE_A_DATA = 22,
    WIRE_A_EOF = 23,
    WIRE_A_EXIT = 24,
    WIRE_A_ERROR = 25,
    WIRE_A_CREDIT = 26,
    WIRE_A_CONFIG = 30,
    WIRE_A_SPAWN = 31,
    WIRE_A_SIGNAL = 32,
    WIRE_A_RESIZE = 33,
    WIRE_A_CALL = 34,
    WIRE_A_RESULT = 35,
};

/* Flags of DATA and EOF: which stream of the channel. */
enum wire_stream { WIRE_STDIN = 0, WIRE_STDOUT = 1, WIRE_STDERR = 2 };

static inline uint32_t wire_get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void wire_put_u32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

/* --- frames ----------------------------------------------------------------------------------- */

struct wire_frame {
    uint32_t length; /* bytes of payload */
    uint32_t channel;
    uint8_t type;
    uint8_t flags;
    const uint8_t *payload; /* inside the parser; valid until its next call */
};

/* Turns a stream of bytes into frames. Zero-initialise; wire_parser_free() at the end. */
struct wire_parser {
    uint8_t *buffer;
    uint32_t start, end;
    bool broken;
};

/*
 * Where the next bytes are to be read to, and how many fit: at least one, or 0 when there is no
 * memory. All complete frames must have been taken by wire_parser_next() before.
 */
size_t wire_parser_room(struct wire_parser *parser, uint8_t **where);

/*
 * The same, but never beyond the frame that is being received. A reader of descriptors uses this
 * one, so that a descriptor always belongs to the frame whose bytes came with it.
 */
size_t wire_parser_need(struct wire_parser *parser, uint8_t **where);

/* Says that `count` bytes were read to the place that room or need gave. */
void wire_parser_filled(struct wire_parser *parser, size_t count);

/* 1: `frame` is the next frame; 0: more bytes are needed; -EBADMSG: malformed, now and for ever. */
int wire_parser_next(struct wire_parser *parser, struct wire_frame *frame);

/* Whether the stream ended inside a frame, when it ended now. */
bool wire_parser_torn(const struct wire_parser *parser);

void wire_parser_free(struct wire_parser *parser);

/* Writes a frame's header. `length` is at most WIRE_PAYLOAD_MAX. */
void wire_header(uint8_t out[WIRE_HEADER], uint8_t type, uint8_t flags, uint32_t channel,
                 uint32_t length);

/* --- records ---------------------------------------------------------------------------------- */

/*
 * NUL-terminated `key=value` strings one after the other. Zero-initialise; wire_record_free() at
 * the end, after which it is empty and can be used again.
 */
struct wire_record {
    char *data;
    uint32_t length, capacity;
    int error;        /* the first error of wire_put..., sticky */
    uint8_t type;     /* of the frames it is received from */
    uint32_t channel; /* likewise */
    bool partial;     /* frames are still to come */
};

/*
 * Adds a received frame. 1: the record is whole and well formed; 0: further frames must follow, and
 * they must be the very next ones; else an error. A frame after a whole record starts a new one.
 */
int wire_record_add(struct wire_record *record, const struct wire_frame *frame);

/* Takes a whole record from memory (a file, for example). 0 or an error. */
int wire_record_load(struct wire_record *record, const void *bytes, size_t length);

/* The value of the first `key`, or NULL. It lives as long as the record is not changed. */
const char *wire_get(const struct wire_record *record, const char *key);

/*
 * The next value of `key` at or after `*at` (begin with 0), or NULL: iterates over a list.
 */
const char *wire_each(const struct wire_record *record, const char *key, uint32_t *at);

/* How many values `key` has. */
size_t wire_count(const struct wire_record *record, const char *key);

/* The next string `key=value` at or after `*at` (begin with 0), or NULL at the end. */
const char *wire_string(const struct wire_record *record, uint32_t *at);

/*
 * The number of `key` in decimal digits, in low..high. 0 with the number, or with `fallback` when
 * there is no such key; -EINVAL when it is no number or out of range (`out` is then `fallback`).
 */
int wire_number(const struct wire_record *record, const char *key, int64_t low, int64_t high,
                int64_t fallback, int64_t *out);

/* Whether `key` is "1". */
bool wire_flag(const struct wire_record *record, const char *key);

/* Append a pair. Errors are kept in record->error, so that a caller checks once at the end. */
void wire_put(struct wire_record *record, const char *key, const char *value);
void wire_put_bytes(struct wire_record *record, const char *key, const char *value, size_t length);
void wire_put_number(struct wire_record *record, const char *key, int64_t value);

/*
 * The record as frames, in one block of `*size` bytes that the caller frees. NULL when a wire_put
 * had failed or there is no memory.
 */
uint8_t *wire_record_frames(const struct wire_record *record, uint8_t type, uint32_t channel,
                            size_t *size);

void wire_record_free(struct wire_record *record);

#endif
