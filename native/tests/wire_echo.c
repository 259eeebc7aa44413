/*
 * Parses frames from standard input and answers each whole record with itself, written anew from
 * its pairs; what breaks the protocol is answered by one frame of type 255. For round trips between
 * the two codecs.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "../wire/wire.h"

static int answer(const struct wire_record *record)
{
    struct wire_record copy = {0};
    uint32_t at = 0;
    for (const char *string; (string = wire_string(record, &at)) != NULL;) {
        const char *equals = strchr(string, '=');
        cleanup_free char *key = strndup(string, (size_t)(equals - string));
        wire_put(&copy, key, equals + 1);
    }
    size_t size;
    cleanup_free uint8_t *frames = wire_record_frames(&copy, record->type, record->channel, &size);
    wire_record_free(&copy);
    return frames != NULL && fwrite(frames, 1, size, stdout) == size ? 0 : -1;
}

static int take(struct wire_parser *parser, struct wire_record *record)
{
    struct wire_frame frame;
    int got;
    while ((got = wire_parser_next(parser, &frame)) == 1) {
        got = wire_record_add(record, &frame);
        if (got == 1)
            got = answer(record);
        if (got < 0)
            break;
    }
    return got;
}

int main(void)
{
    struct wire_parser parser = {0};
    struct wire_record record = {0};
    for (;;) {
        uint8_t *where, header[WIRE_HEADER];
        size_t room = wire_parser_room(&parser, &where);
        ssize_t count = read(STDIN_FILENO, where, room);
        if (count <= 0)
            break;
        wire_parser_filled(&parser, (size_t)count);
        if (take(&parser, &record) < 0) {
            wire_header(header, 255, 0, 0, 0);
            fwrite(header, 1, sizeof header, stdout);
            break;
        }
    }
    wire_parser_free(&parser);
    wire_record_free(&record);
    return 0;
}
