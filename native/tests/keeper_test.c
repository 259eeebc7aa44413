#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../keeper/keeper.h"
#include "check.h"

static char directory[] = "/tmp/wirt-keeper-test-XXXXXX";

static void buffers_give_their_memory_back(void)
{
    struct buffer buffer = {0};
    for (int i = 0; i < 999; i++) {
        CHECK(buffer_put(&buffer, "0123456789", 10) == 0);
        if (i % 3 == 2)
            buffer_drop(&buffer, 10);
    }
    CHECK(buffer_size(&buffer) == 6660 && buffer.data[buffer.start] == '0');
    CHECK(buffer.capacity <= 16384);
    buffer_drop(&buffer, buffer_size(&buffer));
    CHECK(buffer.data == NULL && buffer_size(&buffer) == 0);
}

static void last_lines_have_no_control_characters(void)
{
    char out[MESSAGE_MAX];
    text_last_line("one\ntwo\n\n \n", 11, out);
    CHECK(strcmp(out, "two") == 0);
    text_last_line("a\x1b[31mred\n", 10, out);
    CHECK(strcmp(out, "a [31mred") == 0);
    text_last_line("", 0, out);
    CHECK(out[0] == '\0');
    static char text[2000];
    memset(text, 'x', sizeof text);
    text_last_line(text, sizeof text, out);
    CHECK(strlen(out) == MESSAGE_MAX - 1);
}

static void exit_codes_follow_the_message(void)
{
    CHECK(text_exit_code("exec: executable file `a` not found in $PATH") == 127);
    CHECK(text_exit_code("open a: No such file or directory") == 127);
    CHECK(text_exit_code("exec a: Permission denied") == 126);
    CHECK(text_exit_code("anything else") == 125);
    CHECK(text_exit_code("") == 125);
}

static void ids_are_file_names(void)
{
    CHECK(text_valid_id("a") && text_valid_id("A-z_0.9"));
    CHECK(!text_valid_id("") && !text_valid_id(".a") && !text_valid_id("-a"));
    CHECK(!text_valid_id("a/b") && !text_valid_id("a b") && !text_valid_id("a\n"));
}

static int64_t size_of(const char *path)
{
    struct stat stat;
    return lstat(path, &stat) < 0 ? -1 : stat.st_size;
}

static struct log open_log(int64_t size, int files)
{
    struct conf conf = {.log = "log", .log_size = size, .log_files = files};
    struct log log;
    log_open(&log, &conf);
    CHECK(log.fd >= 0);
    return log;
}

static void clear_log(void)
{
    CHECK(system("rm -rf log") == 0);
}

static void logs_rotate_and_drop_the_oldest(void)
{
    uint8_t block[1000];
    memset(block, 'x', sizeof block);
    struct log log = open_log(5000, 3);
    for (int i = 0; i < 100; i++)
        log_write(&log, WIRE_STDOUT, block, sizeof block);
    log_close(&log);
    CHECK(size_of("log/0") == 4 * 1016 && size_of("log/1") == 4 * 1016);
    CHECK(size_of("log/2") == 4 * 1016 && size_of("log/3") == -1);
    clear_log();
}

static void a_torn_record_is_cut_off_before_more_is_written(void)
{
    struct log log = open_log(1 << 20, 1);
    log_write(&log, WIRE_STDOUT, (uint8_t *)"whole\n", 6);
    log_write(&log, WIRE_STDERR, (uint8_t *)"whole too\n", 10);
    close(log.fd); /* as by a kill */
    int64_t whole = size_of("log/0");
    for (int64_t cut = 1; cut < 26; cut++) {
        CHECK(truncate("log/0", whole - cut) == 0);
        log = open_log(1 << 20, 1);
        CHECK(log.size == 22);
        log_write(&log, WIRE_STDERR, (uint8_t *)"whole too\n", 10);
        CHECK(size_of("log/0") == whole);
        close(log.fd);
    }
    log = open_log(1 << 20, 1);
    log_close(&log);
    CHECK(size_of("log/end") > 0 && size_of("log/0") == whole);
    clear_log();
}

static void many_small_records_are_walked_through(void)
{
    struct log log = open_log(1 << 20, 1);
    for (int i = 0; i < 5000; i++)
        log_write(&log, WIRE_STDOUT, (uint8_t *)"0123456789abcdef", (size_t)(i % 17));
    close(log.fd);
    int64_t whole = size_of("log/0");
    int fd = open("log/0", O_WRONLY | O_APPEND);
    CHECK(write(fd, "\1\0\0\0\0\0\0\1torn", 12) == 12);
    close(fd);
    log = open_log(1 << 20, 1);
    CHECK(log.size == whole && size_of("log/0") == whole);
    log_close(&log);
    clear_log();
}

static void a_write_that_fails_is_counted_and_told(void)
{
    struct log log = open_log(1 << 20, 1);
    struct rlimit limit = {940, 1000000};
    uint8_t block[900];
    char text[4096] = {0};
    memset(block, 'x', sizeof block);
    signal(SIGXFSZ, SIG_IGN);
    log_write(&log, WIRE_STDOUT, block, sizeof block);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    log_write(&log, WIRE_STDOUT, block, sizeof block);
    log_write(&log, WIRE_STDOUT, block, sizeof block);
    CHECK(size_of("log/0") == 916 && log.lost == 1800);
    limit.rlim_cur = 1000000;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    log_write(&log, WIRE_STDOUT, (uint8_t *)"after\n", 6);
    CHECK(log.lost == 0);
    log_close(&log);
    int fd = open("log/0", O_RDONLY);
    CHECK(read(fd, text, sizeof text - 1) > 932 && text[916] == WIRE_STDERR);
    close(fd);
    CHECK(strstr(text + 932, "1800 bytes of output were not logged") != NULL);
    CHECK(memcmp(text + size_of("log/0") - 6, "after\n", 6) == 0);
    clear_log();
}

int main(void)
{
    CHECK(mkdtemp(directory) != NULL && chdir(directory) == 0);
    RUN(buffers_give_their_memory_back);
    RUN(last_lines_have_no_control_characters);
    RUN(exit_codes_follow_the_message);
    RUN(ids_are_file_names);
    RUN(logs_rotate_and_drop_the_oldest);
    RUN(a_torn_record_is_cut_off_before_more_is_written);
    RUN(many_small_records_are_walked_through);
    RUN(a_write_that_fails_is_counted_and_told);
    CHECK(chdir("/") == 0 && rmdir(directory) == 0);
    return 0;
}
