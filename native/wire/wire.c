#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- frames ----------------------------------------------------------------------------------- */

void wire_header(uint8_t out[WIRE_HEADER], uint8_t type, uint8_t flags, uint32_t channel,
                 uint32_t length)
{
    wire_put_u32(out, length);
    out[4] = type;
    out[5] = flags;
    out[6] = 0;
    out[7] = 0;
    wire_put_u32(out + 8, channel);
}

size_t wire_parser_room(struct wire_parser *parser, uint8_t **where)
{
    if (parser->buffer == NULL && (parser->buffer = malloc(WIRE_FRAME_MAX)) == NULL)
        return 0;
    if (parser->start > 0) {
        memmove(parser->buffer, parser->buffer + parser->start, parser->end - parser->start);
        parser->end -= parser->start;
        parser->start = 0;
    }
    *where = parser->buffer + parser->end;
    return WIRE_FRAME_MAX - parser->end;
}

size_t wire_parser_need(struct wire_parser *parser, uint8_t **where)
{
    size_t room = wire_parser_room(parser, where);
    if (room == 0)
        return 0;
    uint32_t total = WIRE_HEADER;
    if (parser->end >= WIRE_HEADER)
        total += wire_get_u32(parser->buffer);
    size_t need = total > parser->end ? total - parser->end : 0;
    return need < room ? need : room;
}

void wire_parser_filled(struct wire_parser *parser, size_t count)
{
    parser->end += (uint32_t)count;
}

int wire_parser_next(struct wire_parser *parser, struct wire_frame *frame)
{
    if (parser->broken)
        return -EBADMSG;
    uint32_t have = parser->end - parser->start;
    if (have < WIRE_HEADER)
        return 0;
    const uint8_t *at = parser->buffer + parser->start;
    uint32_t length = wire_get_u32(at);
    if (length > WIRE_PAYLOAD_MAX || at[6] != 0 || at[7] != 0) {
        parser->broken = true;
        return -EBADMSG;
    }
    if (have < WIRE_HEADER + length)
        return 0;
    *frame = (struct wire_frame){
        .length = length,
        .channel = wire_get_u32(at + 8),
        .type = at[4],
        .flags = at[5],
        .payload = at + WIRE_HEADER,
    };
    parser->start += WIRE_HEADER + length;
    return 1;
}

bool wire_parser_torn(const struct wire_parser *parser)
{
    return parser->end != parser->start;
}

void wire_parser_free(struct wire_parser *parser)
{
    free(parser->buffer);
    *parser = (struct wire_parser){0};
}

/* --- records ---------------------------------------------------------------------------------- */

void wire_record_free(struct wire_record *record)
{
    free(record->data);
    *record = (struct wire_record){0};
}

static int reserve(struct wire_record *record, size_t more)
{
    if (more > WIRE_RECORD_MAX - record->length)
        return -EMSGSIZE;
    size_t needed = record->length + more;
    if (needed <= record->capacity)
        return 0;
    size_t capacity = record->capacity ? record->capacity : 256;
    while (capacity < needed)
        capacity *= 2;
    char *data = realloc(record->data, capacity);
    if (data == NULL)
        return -ENOMEM;
    record->data = data;
    record->capacity = (uint32_t)capacity;
    return 0;
}

/* Every string ends with NUL and has a key: afterwards readers need not look at bounds. */
static int check(const struct wire_record *record)
{
    if (record->length == 0)
        return 0;
    if (record->data[record->length - 1] != '\0')
        return -EBADMSG;
    for (uint32_t at = 0; at < record->length;) {
        const char *string = record->data + at;
        const char *equals = strchr(string, '=');
        if (equals == NULL || equals == string)
            return -EBADMSG;
        at += (uint32_t)strlen(string) + 1;
    }
    return 0;
}

static int append(struct wire_record *record, const void *bytes, size_t length)
{
    int error = reserve(record, length);
    if (error == 0 && length > 0) {
        memcpy(record->data + record->length, bytes, length);
        record->length += (uint32_t)length;
    }
    return error;
}

int wire_record_add(struct wire_record *record, const struct wire_frame *frame)
{
    if (!record->partial) {
        record->length = 0;
        record->error = 0;
        record->type = frame->type;
        record->channel = frame->channel;
    } else if (record->type != frame->type || record->channel != frame->channel) {
        return -EBADMSG;
    }
    if ((frame->flags & ~WIRE_MORE) != 0)
        return -EBADMSG;
    /* An empty piece could be repeated for ever without coming nearer to the bound. */
    record->partial = (frame->flags & WIRE_MORE) != 0;
    if (record->partial && frame->length == 0)
        return -EBADMSG;
    int error = append(record, frame->payload, frame->length);
    if (error != 0)
        return error;
    if (record->partial)
        return 0;
    error = check(record);
    return error != 0 ? error : 1;
}

int wire_record_load(struct wire_record *record, const void *bytes, size_t length)
{
    record->length = 0;
    record->partial = false;
    record->error = 0;
    int error = append(record, bytes, length);
    return error != 0 ? error : check(record);
}

const char *wire_string(const struct wire_record *record, uint32_t *at)
{
    if (*at >= record->length)
        return NULL;
    const char *string = record->data + *at;
    *at += (uint32_t)strlen(string) + 1;
    return string;
}

const char *wire_each(const struct wire_record *record, const char *key, uint32_t *at)
{
    size_t length = strlen(key);
    for (const char *string; (string = wire_string(record, at)) != NULL;)
        if (strncmp(string, key, length) == 0 && string[length] == '=')
            return string + length + 1;
    return NULL;
}

const char *wire_get(const struct wire_record *record, const char *key)
{
    uint32_t at = 0;
    return wire_each(record, key, &at);
}

size_t wire_count(const struct wire_record *record, const char *key)
{
    size_t count = 0;
    for (uint32_t at = 0; wire_each(record, key, &at) != NULL;)
        count++;
    return count;
}

int wire_number(const struct wire_record *record, const char *key, int64_t low, int64_t high,
                int64_t fallback, int64_t *out)
{
    *out = fallback;
    const char *text = wire_get(record, key);
    if (text == NULL)
        return 0;
    bool negative = *text == '-';
    const char *digit = text + negative;
    size_t length = strlen(digit);
    if (length == 0 || length > 19 || strspn(digit, "0123456789") != length)
        return -EINVAL;
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno != 0 || value < low || value > high)
        return -EINVAL;
    *out = value;
    return 0;
}

bool wire_flag(const struct wire_record *record, const char *key)
{
    const char *value = wire_get(record, key);
    return value != NULL && strcmp(value, "1") == 0;
}

void wire_put_bytes(struct wire_record *record, const char *key, const char *value, size_t length)
{
    if (record->error != 0)
        return;
    uint32_t before = record->length;
    if (*key == '\0' || strchr(key, '=') != NULL || memchr(value, '\0', length) != NULL)
        record->error = -EINVAL;
    if (record->error == 0)
        record->error = append(record, key, strlen(key));
    if (record->error == 0)
        record->error = append(record, "=", 1);
    if (record->error == 0)
        record->error = append(record, value, length);
    if (record->error == 0)
        record->error = append(record, "", 1);
    if (record->error != 0)
        record->length = before;
}

void wire_put(struct wire_record *record, const char *key, const char *value)
{
    wire_put_bytes(record, key, value, strlen(value));
}

void wire_put_number(struct wire_record *record, const char *key, int64_t value)
{
    char text[24];
    int length = snprintf(text, sizeof text, "%lld", (long long)value);
    wire_put_bytes(record, key, text, (size_t)length);
}

uint8_t *wire_record_frames(const struct wire_record *record, uint8_t type, uint32_t channel,
                            size_t *size)
{
    if (record->error != 0)
        return NULL;
    uint32_t frames = record->length == 0 ? 1 : (record->length - 1) / WIRE_PAYLOAD_MAX + 1;
    *size = record->length + (size_t)frames * WIRE_HEADER;
    uint8_t *block = malloc(*size);
    if (block == NULL)
        return NULL;
    uint8_t *at = block;
    for (uint32_t done = 0; frames > 0; frames--) {
        uint32_t left = record->length - done;
        uint32_t piece = left < WIRE_PAYLOAD_MAX ? left : WIRE_PAYLOAD_MAX;
        wire_header(at, type, frames > 1 ? WIRE_MORE : 0, channel, piece);
        if (piece > 0)
            memcpy(at + WIRE_HEADER, record->data + done, piece);
        at += WIRE_HEADER + piece;
        done += piece;
    }
    return block;
}
