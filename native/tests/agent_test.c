/* The parts of the agent that read what a guest or an archive says. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../agent/changes.h"
#include "../agent/confine.h"
#include "../agent/files.h"
#include "../agent/identity.h"
#include "../agent/net.h"
#include "../agent/tar.h"
#include "../agent/user.h"
#include "check.h"

static char directory[] = "/tmp/wirt-agent-test-XXXXXX";
static struct failure why;

static void put(const char *name, const void *content, size_t length)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK(fd >= 0 && write_all(fd, content, length) == 0);
    close(fd);
}

static void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

static int find(const char *wish, struct user *user)
{
    memset(&why, 0, sizeof why);
    return find_user(wish, "passwd", "group", user, &why);
}

static void users_are_found_in_all_their_forms(void)
{
    static struct user user;
    put_text("passwd",
             "# comment\nroot:x:0:0:root:/root:/bin/sh\nbob:x:1000:1001:Bob,,:/srv/bob:\n"
             "broken\n:::::\n77:x:5:6::/seven:\nnohome:x:9:9::relative:\nlast:x:3:4::/l:");
    put_text("group",
             "root:x:0:\nwheel:x:10:bob,alice\nbobs:x:1001:\nvideo:x:44:alice,bob\n12:x:13:\n");
    CHECK(find("", &user) == 0 && user.uid == 0 && user.gid == 0 && !strcmp(user.home, "/root"));
    CHECK(find("bob", &user) == 0 && user.uid == 1000 && user.gid == 1001);
    CHECK(user.group_count == 2 && user.groups[0] == 10 && user.groups[1] == 44);
    CHECK(find("1000", &user) == 0 && user.group_count == 2 && !strcmp(user.home, "/srv/bob"));
    CHECK(find("bob:wheel", &user) == 0 && user.gid == 10 && user.group_count == 0);
    CHECK(find("bob:555", &user) == 0 && user.gid == 555);
    CHECK(find("4000", &user) == 0 && user.uid == 4000 && user.gid == 0 && !strcmp(user.home, "/"));
    /* A name of digits is a name first. */
    CHECK(find("77", &user) == 0 && user.uid == 5 && user.gid == 6);
    CHECK(find("0:12", &user) == 0 && user.gid == 13);
    CHECK(find("nohome", &user) == 0 && !strcmp(user.home, "/"));
    CHECK(find("last", &user) == 0 && user.uid == 3 && !strcmp(user.home, "/l"));
    CHECK(find(":10", &user) == 0 && user.uid == 0 && user.gid == 10);
    CHECK(find("2147483647", &user) == 0 && user.uid == 2147483647u);
}

static void impossible_users_are_refused(void)
{
    static struct user user;
    static char longest[4096];
    memset(longest, 'x', sizeof longest - 1);
    CHECK(find("nobody", &user) < 0 && strstr(why.message, "unable to find user nobody"));
    CHECK(find("bob:nogroup", &user) < 0 && strstr(why.message, "group nogroup"));
    CHECK(find("2147483648", &user) < 0 && find("-1", &user) < 0 && find("1e3", &user) < 0);
    CHECK(find("bob:-1", &user) < 0 && find("0x10", &user) < 0 && find(longest, &user) < 0);
}

static void strange_passwd_files_neither_hang_nor_exhaust(void)
{
    static struct user user;
    static char block[200000];
    const char *traps[] = {"absent", "fifo", "sparse", "directory", "/dev/zero", "endless", "nuls"};
    CHECK(mkfifo("fifo", 0600) == 0 && mkdir("directory", 0700) == 0);
    put("sparse", "", 0);
    CHECK(truncate("sparse", 1l << 33) == 0);
    memset(block, 'a', sizeof block);
    put("endless", block, sizeof block);
    memset(block, 0, sizeof block);
    put("nuls", block, sizeof block);
    for (size_t i = 0; i < sizeof traps / sizeof *traps; i++) {
        CHECK(find_user("7:8", traps[i], traps[i], &user, &why) == 0);
        CHECK(user.uid == 7 && user.gid == 8);
        CHECK(find_user("bob", traps[i], traps[i], &user, &why) < 0);
    }
}

static void many_groups_are_bounded(void)
{
    static struct user user;
    FILE *file = fopen("group", "w");
    CHECK(file != NULL);
    for (int i = 0; i < 3000; i++)
        fprintf(file, "g%d:x:%d:bob\n", i, i + 1);
    fclose(file);
    CHECK(find("bob", &user) == 0 && user.group_count == USER_GROUPS_MAX);
}

static void cards_are_parsed_or_refused(void)
{
    struct card card;
    CHECK(parse_card("eth0\03710.1.2.3/24\03710.1.2.1\03702:00:00:0a:0b:0c\0371400", &card, &why) ==
          0);
    CHECK(!strcmp(card.name, "eth0") && card.prefix == 24 && card.mtu == 1400);
    CHECK(card.mac[3] == 0x0a && card.mac[5] == 0x0c && card.gateway != 0);
    CHECK(parse_card("eth0\03710.1.2.3/24\037\03702:00:00:0a:0b:0c\037", &card, &why) == 0);
    CHECK(card.gateway == 0 && card.mtu == 0);
    const char *bad[] = {
        "",
        "eth0",
        "\03710.1.2.3/24\037\03702:00:00:00:00:01\037",
        "a/b\03710.1.2.3/24\037\03702:00:00:00:00:01\037",
        "name-that-is-too-long\03710.1.2.3/24\037\03702:00:00:00:00:01\037",
        "eth0\03710.1.2.3\037\03702:00:00:00:00:01\037",
        "eth0\03710.1.2.3/33\037\03702:00:00:00:00:01\037",
        "eth0\03710.1.2/24\037\03702:00:00:00:00:01\037",
        "eth0\03710.1.2.3/24\037x\03702:00:00:00:00:01\037",
        "eth0\03710.1.2.3/24\037\03702:00:00:00:00\037",
        "eth0\03710.1.2.3/24\037\03702:00:00:00:00:01:02\037",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(parse_card(bad[i], &card, &why) < 0);
}

static int prepare(const char *key, const char *value)
{
    struct wire_record record = {0};
    wire_put(&record, key, value);
    int error = confine_prepare(&record, &why);
    wire_record_free(&record);
    return error;
}

static void limits_are_parsed_or_refused(void)
{
    CHECK(prepare("ulimit", "nofile\0371024\0372048") == 0);
    CHECK(prepare("ulimit", "core\0370\037-1") == 0);
    CHECK(prepare("ulimit", "nofile") < 0 && prepare("ulimit", "nofile\0371") < 0);
    CHECK(prepare("ulimit", "nofiles\0371\0371") < 0 && prepare("ulimit", "core\0371\037x") < 0);
    CHECK(prepare("ulimit", "") < 0 && prepare("ulimit", "\037\037") < 0);
}

static void managed_files_replace_links_and_stay_inside(void)
{
    struct wire_record record = {0};
    char text[64];
    CHECK(mkdir("tree", 0755) == 0 && symlink("/etc/passwd", "tree/hosts") == 0);
    CHECK(symlink("../../..", "tree/up") == 0 && mkdir("tree/dir", 0755) == 0);
    int root = open("tree", O_PATH | O_DIRECTORY);
    wire_put(&record, "file", "/hosts\037one\n");
    wire_put(&record, "file", "/up/inside\037two\n");
    wire_put(&record, "file", "/made/deep/three\037");
    CHECK(write_files(&record, root, &why) == 0);
    wire_record_free(&record);
    CHECK(read_text("tree/hosts", text, sizeof text) == 4 && !strcmp(text, "one\n"));
    CHECK(read_text("tree/inside", text, sizeof text) == 4 && !strcmp(text, "two\n"));
    CHECK(read_text("tree/made/deep/three", text, sizeof text) == 0);
    const char *bad[] = {"", "x", "/dir\037x", "relative\037x", "/a/../..\037x", "/\037x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wire_put(&record, "file", bad[i]);
        CHECK(write_files(&record, root, &why) < 0);
        wire_record_free(&record);
    }
    close(root);
}

static size_t pack(const char *path, const char *name, const char *archive)
{
    int fd = open(archive, O_RDWR | O_CREAT | O_TRUNC, 0600);
    struct stat status;
    CHECK(tar_pack(path, name, fd, &why) == 0 && fstat(fd, &status) == 0);
    close(fd);
    return (size_t)status.st_size;
}

static int unpack(const char *archive, const char *into)
{
    char path[4096];
    int fd = open(archive, O_RDONLY);
    snprintf(path, sizeof path, "%s/%s", directory, into);
    int error = tar_unpack(fd, path, false, &why);
    close(fd);
    return error;
}

static void a_tree_survives_its_journey(void)
{
    char text[512], name[256];
    struct stat one, two;
    memset(name, 'n', 200);
    strcpy(name + 200, "/deep");
    CHECK(mkdir("source", 0751) == 0 && mkdir("target", 0700) == 0 && chdir("source") == 0);
    name[200] = '\0';
    CHECK(mkdir(name, 0700) == 0);
    name[200] = '/';
    put_text(name, "deep");
    put_text("file", "content");
    CHECK(chmod("file", 04755) == 0 && link("file", "twin") == 0 && symlink("file", "link") == 0);
    CHECK(chdir("..") == 0);
    pack("source", "top", "archive");
    CHECK(unpack("archive", "target") == 0 && chdir("target/top") == 0);
    CHECK(read_text(name, text, sizeof text) == 4 && !strcmp(text, "deep"));
    CHECK(lstat("file", &one) == 0 && lstat("twin", &two) == 0 && one.st_ino == two.st_ino);
    CHECK((one.st_mode & 07777) == 04755 && readlink("link", text, sizeof text) == 4);
    CHECK(chdir("../..") == 0);
}

/* Every archive that is cut or damaged somewhere ends in an error or in order, never in a crash. */
static void damaged_archives_do_no_harm(void)
{
    size_t size = pack("source", "top", "archive");
    unsigned char *bytes = malloc(size);
    int fd = open("archive", O_RDONLY);
    CHECK(bytes != NULL && read_all(fd, bytes, size) == (ssize_t)size);
    close(fd);
    CHECK(mkdir("victim", 0700) == 0);
    for (size_t cut = 0; cut < size; cut += 97) {
        put("damaged", bytes, cut);
        unpack("damaged", "victim");
    }
    srand(7);
    for (int round = 0; round < 600; round++) {
        unsigned char saved[8];
        size_t at[8];
        for (int i = 0; i < 8; i++) {
            at[i] = (size_t)rand() % size;
            saved[i] = bytes[at[i]];
            bytes[at[i]] = (unsigned char)rand();
        }
        put("damaged", bytes, size);
        unpack("damaged", "victim");
        for (int i = 7; i >= 0; i--)
            bytes[at[i]] = saved[i];
    }
    free(bytes);
}

/* Extended headers lie as they like: the checksum of their own block is right. */
static void lying_extended_headers_are_refused(void)
{
    const char *records[] = {"",
                             "5 a=b",
                             "99 path=x\n",
                             "0 path=x\n",
                             "-1 path=x\n",
                             "9 path=x\nzz",
                             "11 path=abc",
                             "3 \n",
                             "8 pathx\n",
                             "6 =x\n\n\n",
                             "4294967295 path=x\n"};
    CHECK(mkdir("liar", 0700) == 0);
    for (size_t i = 1; i < sizeof records / sizeof *records; i++) {
        struct tar_member member = {.type = 'x', .size = strlen(records[i]), .path = "x"};
        int fd = open("damaged", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        CHECK(tar_write_member(fd, &member) == 0);
        CHECK(write_all(fd, records[i], strlen(records[i])) == 0);
        CHECK(tar_write_padding(fd, strlen(records[i])) == 0);
        member = (struct tar_member){.type = '0', .mode = 0644, .path = "after"};
        CHECK(tar_write_member(fd, &member) == 0 && tar_write_end(fd) == 0);
        close(fd);
        CHECK(unpack("damaged", "liar") < 0);
    }
}

static void names_that_climb_are_refused(void)
{
    const char *names[] = {"../x", "a/../../x", "..", "a/.."};
    CHECK(mkdir("low", 0700) == 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct tar_member member = {.type = '0', .mode = 0644};
        strcpy(member.path, names[i]);
        int fd = open("damaged", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        CHECK(tar_write_member(fd, &member) == 0 && tar_write_end(fd) == 0);
        close(fd);
        CHECK(unpack("damaged", "low") < 0 && access("x", F_OK) != 0);
    }
}

/* Three views made by hand: what an overlay would show of them. */
static void changes_are_told_by_comparing(void)
{
    const char *made =
        "mkdir lower lower/d lower/d/same lower/swap lower/own upper upper/d upper/d/same "
        "upper/new merged merged/d merged/d/same merged/new upper/own merged/own "
        "upper/dev; echo h > upper/own/hosts; touch -d @5 lower/own; "
        "echo 1 > lower/a; echo x > lower/d/x; echo x > lower/d/y; echo g > lower/g;"
        "echo s > lower/swap/s; echo 22 > upper/a; echo n > upper/new/n; "
        "echo f > upper/swap; echo z > upper/d/z; cp -r lower/d/x merged/d/x; "
        "cp upper/a upper/swap merged; cp upper/d/z merged/d; "
        "touch -d @9 upper/d/same lower/d/same; touch -d @9 lower/d upper/d";
    const char wanted[] = "D 0 2 g\0C 3 2 a\0C 0 0 d\0D 0 2 d/y\0A 2 0 d/z\0"
                          "A 0 0 new\0A 2 0 new/n\0C 2 0 swap";
    char told[512] = "";
    CHECK(mkdir("views", 0700) == 0 && chdir("views") == 0 && system(made) == 0);
    int upper = open("upper", O_PATH), lower = open("lower", O_PATH);
    int merged = open("merged", O_PATH), out = open("out", O_RDWR | O_CREAT, 0600);
    struct wire_record config = {0};
    wire_put(&config, "file", "/own/hosts\037x");
    struct change_views views = {upper, lower, merged, &config};
    CHECK(changes_list(&views, dup(out), &why) == 0);
    CHECK(pread(out, told, sizeof told, 0) == sizeof wanted);
    CHECK(memcmp(told, wanted, sizeof wanted) == 0);
    views.lower = -1;
    CHECK(changes_list(&views, dup(out), &why) < 0);
    wire_record_free(&config);
    CHECK(chdir("..") == 0);
}

int main(void)
{
    char command[128];
    CHECK(mkdtemp(directory) != NULL && chdir(directory) == 0);
    RUN(users_are_found_in_all_their_forms);
    RUN(impossible_users_are_refused);
    RUN(strange_passwd_files_neither_hang_nor_exhaust);
    RUN(many_groups_are_bounded);
    RUN(cards_are_parsed_or_refused);
    RUN(limits_are_parsed_or_refused);
    RUN(managed_files_replace_links_and_stay_inside);
    RUN(a_tree_survives_its_journey);
    RUN(names_that_climb_are_refused);
    RUN(lying_extended_headers_are_refused);
    RUN(damaged_archives_do_no_harm);
    RUN(changes_are_told_by_comparing);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command) == 0 ? 0 : 1;
}
