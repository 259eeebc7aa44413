/* libFuzzer: any bytes, cut anywhere; what parses must survive being written and parsed again. */
#include <stdlib.h>
#include <string.h>

#include "../wire/wire.h"

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void again(const struct wire_record *record)
{
    struct wire_record copy = {0}, back = {0};
    uint32_t at = 0;
    for (const char *string; (string = wire_string(record, &at)) != NULL;) {
        size_t key = strcspn(string, "=");
        char *name = strndup(string, key);
        wire_put(&copy, name, string + key + 1);
        must(wire_get(record, name) != NULL);
        free(name);
    }
    must(copy.error == 0 && copy.length == record->length);
    must(copy.length == 0 || memcmp(copy.data, record->data, copy.length) == 0);
    must(wire_record_load(&back, copy.data, copy.length) == 0);
    int64_t number;
    wire_number(record, "n", -5, 5, 0, &number);
    must(number >= -5 && number <= 5);
    wire_record_free(&copy);
    wire_record_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_parser parser = {0};
    struct wire_record record = {0};
    struct wire_frame frame;
    size_t step = size > 0 ? data[0] + 1u : 1;
    bool exact = size > 1 && (data[1] & 1);
    int got = 0;
    for (size_t at = size > 2 ? 2 : size; at < size && got >= 0;) {
        uint8_t *where;
        size_t room = exact ? wire_parser_need(&parser, &where) : wire_parser_room(&parser, &where);
        size_t piece = size - at < step ? size - at : step;
        piece = piece < room ? piece : room;
        must(piece > 0);
        memcpy(where, data + at, piece);
        wire_parser_filled(&parser, piece);
        at += piece;
        while ((got = wire_parser_next(&parser, &frame)) == 1) {
            must(frame.length <= WIRE_PAYLOAD_MAX);
            int whole = wire_record_add(&record, &frame);
            must(record.length <= WIRE_RECORD_MAX);
            if (whole == 1)
                again(&record);
            if (whole < 0)
                record.partial = false;
        }
    }
    wire_parser_free(&parser);
    wire_record_free(&record);
    return 0;
}
