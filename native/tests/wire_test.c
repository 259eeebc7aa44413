#include <errno.h>
#include <string.h>

#include "../wire/wire.h"
#include "check.h"

static void feed(struct wire_parser *parser, const void *bytes, size_t length)
{
    uint8_t *where;
    CHECK(wire_parser_room(parser, &where) >= length);
    memcpy(where, bytes, length);
    wire_parser_filled(parser, length);
}

static void frames_arrive_however_they_are_cut(void)
{
    uint8_t bytes[64];
    wire_header(bytes, 22, 1, 0xdeadbeef, 5);
    memcpy(bytes + 12, "hello", 5);
    wire_header(bytes + 17, 23, 2, 7, 0);
    for (size_t cut = 0; cut <= 29; cut++) {
        struct wire_parser parser = {0};
        struct wire_frame frame;
        int frames = 0;
        const size_t ends[2] = {cut, 29};
        for (size_t i = 0, at = 0; i < 2; at = ends[i++]) {
            feed(&parser, bytes + at, ends[i] - at);
            while (wire_parser_next(&parser, &frame) == 1) {
                CHECK(frame.type == (frames == 0 ? 22 : 23));
                CHECK(frame.channel == (frames == 0 ? 0xdeadbeef : 7));
                CHECK(frame.length == (frames == 0 ? 5 : 0));
                CHECK(frames == 1 || memcmp(frame.payload, "hello", 5) == 0);
                frames++;
            }
        }
        CHECK(frames == 2 && !wire_parser_torn(&parser));
        wire_parser_free(&parser);
    }
}

static void a_frame_at_a_time_never_crosses_into_the_next(void)
{
    struct wire_parser parser = {0};
    struct wire_frame frame;
    uint8_t *where;
    CHECK(wire_parser_need(&parser, &where) == WIRE_HEADER);
    wire_header(where, 1, 0, 1, 1000);
    wire_parser_filled(&parser, 5);
    CHECK(wire_parser_next(&parser, &frame) == 0);
    CHECK(wire_parser_need(&parser, &where) == WIRE_HEADER - 5);
    wire_parser_filled(&parser, WIRE_HEADER - 5);
    CHECK(wire_parser_next(&parser, &frame) == 0);
    CHECK(wire_parser_need(&parser, &where) == 1000);
    memset(where, 0, 1000);
    wire_parser_filled(&parser, 1000);
    CHECK(wire_parser_next(&parser, &frame) == 1 && frame.length == 1000);
    CHECK(wire_parser_need(&parser, &where) == WIRE_HEADER);
    wire_parser_free(&parser);
}

static void a_malformed_header_breaks_the_stream_for_ever(void)
{
    const size_t places[] = {0, 1, 6, 7};
    for (size_t i = 0; i < 4; i++) {
        struct wire_parser parser = {0};
        struct wire_frame frame;
        uint8_t header[WIRE_HEADER];
        wire_header(header, 1, 0, 1, 0);
        header[places[i]] = 1;
        if (places[i] == 1)
            header[3] = 1; /* 65537 */
        feed(&parser, header, sizeof header);
        CHECK(wire_parser_next(&parser, &frame) == -EBADMSG);
        CHECK(wire_parser_next(&parser, &frame) == -EBADMSG);
        wire_parser_free(&parser);
    }
}

static int add(struct wire_record *record, uint8_t type, uint8_t flags, const void *bytes,
               uint32_t length)
{
    struct wire_frame frame = {.type = type, .flags = flags, .channel = 1, .length = length};
    frame.payload = bytes;
    return wire_record_add(record, &frame);
}

static void records_keep_order_and_repeated_keys(void)
{
    struct wire_record record = {0};
    uint32_t at = 0;
    CHECK(add(&record, 1, 0, "a=1\0b=x=y\0a=\0", 13) == 1);
    CHECK(strcmp(wire_get(&record, "b"), "x=y") == 0);
    CHECK(wire_get(&record, "x") == NULL && wire_get(&record, "") == NULL);
    CHECK(wire_count(&record, "a") == 2);
    CHECK(strcmp(wire_each(&record, "a", &at), "1") == 0);
    CHECK(strcmp(wire_each(&record, "a", &at), "") == 0);
    CHECK(wire_each(&record, "a", &at) == NULL);
    CHECK(wire_flag(&record, "a") && !wire_flag(&record, "b"));
    CHECK(add(&record, 1, 0, "", 0) == 1 && wire_get(&record, "a") == NULL);
    wire_record_free(&record);
}

static void malformed_records_are_refused(void)
{
    struct wire_record record = {0};
    CHECK(add(&record, 1, 0, "a=1", 3) == -EBADMSG);
    CHECK(add(&record, 1, 0, "a\0", 2) == -EBADMSG);
    CHECK(add(&record, 1, 0, "=1\0", 3) == -EBADMSG);
    CHECK(add(&record, 1, 0, "\0", 1) == -EBADMSG);
    CHECK(add(&record, 1, 2, "a=1\0", 4) == -EBADMSG);
    wire_record_free(&record);
    CHECK(add(&record, 1, WIRE_MORE, "a=", 2) == 0);
    CHECK(add(&record, 2, 0, "1\0", 2) == -EBADMSG);
    wire_record_free(&record);
    CHECK(add(&record, 1, WIRE_MORE, "", 0) == -EBADMSG);
    wire_record_free(&record);
}

static void records_are_bounded(void)
{
    static char block[WIRE_PAYLOAD_MAX];
    struct wire_record record = {0};
    memset(block, 'x', sizeof block);
    for (uint32_t i = 0; i < WIRE_RECORD_MAX / sizeof block; i++)
        CHECK(add(&record, 1, WIRE_MORE, block, sizeof block) == 0);
    CHECK(add(&record, 1, WIRE_MORE, block, 1) == -EMSGSIZE);
    wire_record_free(&record);
    for (int i = 0; i < 100; i++)
        wire_put_bytes(&record, "key", block, sizeof block);
    CHECK(record.error == -EMSGSIZE && record.length <= WIRE_RECORD_MAX);
    size_t size;
    CHECK(wire_record_frames(&record, 1, 1, &size) == NULL);
    wire_record_free(&record);
}

static void numbers_are_digits_in_range(void)
{
    const char *bad[] = {"",
                         "-",
                         "1x",
                         "x",
                         " 1",
                         "+1",
                         "1 ",
                         "11",
                         "-2",
                         "99999999999999999999999",
                         "9223372036854775808"};
    int64_t number;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct wire_record record = {0};
        wire_put(&record, "n", bad[i]);
        CHECK(wire_number(&record, "n", -1, 10, 5, &number) == -EINVAL && number == 5);
        wire_record_free(&record);
    }
    struct wire_record record = {0};
    wire_put_number(&record, "n", -1);
    wire_put_number(&record, "big", INT64_MAX);
    wire_put_number(&record, "small", INT64_MIN);
    CHECK(wire_number(&record, "n", -1, 10, 5, &number) == 0 && number == -1);
    CHECK(wire_number(&record, "big", 0, INT64_MAX, 5, &number) == 0 && number == INT64_MAX);
    CHECK(wire_number(&record, "small", INT64_MIN, 0, 5, &number) == 0 && number == INT64_MIN);
    CHECK(wire_number(&record, "none", 0, 10, 5, &number) == 0 && number == 5);
    wire_record_free(&record);
}

static int receive(struct wire_record *record, const uint8_t *frames, size_t size)
{
    struct wire_parser parser = {0};
    struct wire_frame frame;
    int whole = 0;
    for (size_t at = 0; at < size;) {
        uint8_t *where;
        size_t room = wire_parser_room(&parser, &where);
        size_t piece = size - at < room ? size - at : room;
        memcpy(where, frames + at, piece);
        wire_parser_filled(&parser, piece);
        at += piece;
        while (wire_parser_next(&parser, &frame) == 1) {
            CHECK(whole == 0 && frame.type == 9 && frame.channel == 8);
            whole = wire_record_add(record, &frame);
        }
    }
    wire_parser_free(&parser);
    return whole;
}

static void long_records_travel_in_several_frames(void)
{
    static char block[WIRE_PAYLOAD_MAX];
    const uint32_t lengths[] = {0, 1, WIRE_PAYLOAD_MAX - 3, WIRE_PAYLOAD_MAX - 2, 200000};
    memset(block, 'x', sizeof block);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct wire_record record = {0}, back = {0};
        uint32_t left = lengths[i];
        for (; left > sizeof block; left -= 60000)
            wire_put_bytes(&record, "k", block, 60000);
        wire_put_bytes(&record, "k", block, left);
        size_t size;
        uint8_t *frames = wire_record_frames(&record, 9, 8, &size);
        CHECK(frames != NULL && receive(&back, frames, size) == 1);
        CHECK(back.length == record.length);
        CHECK(memcmp(back.data, record.data, record.length) == 0);
        free(frames);
        wire_record_free(&record);
        wire_record_free(&back);
    }
}

static void what_cannot_be_written_is_an_error_and_leaves_no_half(void)
{
    struct wire_record record = {0};
    wire_put(&record, "good", "1");
    uint32_t length = record.length;
    wire_put(&record, "a=b", "1");
    CHECK(record.error == -EINVAL && record.length == length);
    record.error = 0;
    wire_put(&record, "", "1");
    CHECK(record.error == -EINVAL && record.length == length);
    record.error = 0;
    wire_put_bytes(&record, "k", "a\0b", 3);
    CHECK(record.error == -EINVAL && record.length == length);
    wire_record_free(&record);
}

int main(void)
{
    RUN(frames_arrive_however_they_are_cut);
    RUN(a_frame_at_a_time_never_crosses_into_the_next);
    RUN(a_malformed_header_breaks_the_stream_for_ever);
    RUN(records_keep_order_and_repeated_keys);
    RUN(malformed_records_are_refused);
    RUN(records_are_bounded);
    RUN(numbers_are_digits_in_range);
    RUN(long_records_travel_in_several_frames);
    RUN(what_cannot_be_written_is_an_error_and_leaves_no_half);
    return 0;
}
