/* The child that becomes one of the guest's own programs. */
#include "child.h"
#include "confine.h"
#include "program.h"
#include "user.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *choose(const struct order *order, const char *key)
{
    const char *own = wire_get(order->request, key);
    if (own == NULL || *own == '\0')
        own = wire_get(order->config, key);
    return own == NULL ? "" : own;
}

static bool same_name(const char *one, const char *other)
{
    size_t length = strcspn(one, "=");
    return strncmp(one, other, length) == 0 && other[length] == '=' && one[length] == '=';
}

/* Adds a variable or replaces the one of its name. */
static size_t set_variable(char **env, size_t count, const char *variable)
{
    for (size_t i = 0; i < count; i++)
        if (same_name(env[i], variable)) {
            env[i] = (char *)variable;
            return count;
        }
    env[count] = (char *)variable;
    return count + 1;
}

static bool has_variable(char **env, size_t count, const char *prefix)
{
    for (size_t i = 0; i < count; i++)
        if (strncmp(env[i], prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

/* The guest's environment, then the request's own, then HOME and TERM where they are missing. */
static char **environment(const struct order *order, const struct user *user)
{
    size_t most = wire_count(order->config, "env") + wire_count(order->request, "env") + 3;
    char **env = calloc(most, sizeof *env);
    if (env == NULL)
        return NULL;
    size_t count = 0;
    uint32_t at = 0;
    for (const char *v; (v = wire_each(order->config, "env", &at)) != NULL;)
        count = set_variable(env, count, v);
    at = 0;
    if (order->request != order->config)
        for (const char *v; (v = wire_each(order->request, "env", &at)) != NULL;)
            count = set_variable(env, count, v);
    char *home = NULL;
    if (!has_variable(env, count, "HOME=") && asprintf(&home, "HOME=%s", user->home) > 0)
        env[count++] = home;
    if (order->terminal && !has_variable(env, count, "TERM="))
        env[count++] = "TERM=xterm";
    return env;
}

static char **arguments(const struct wire_record *request)
{
    char **argv = calloc(wire_count(request, "argv") + 1, sizeof *argv);
    uint32_t at = 0;
    const char *word;
    for (size_t count = 0; argv != NULL && (word = wire_each(request, "argv", &at)) != NULL;)
        argv[count++] = (char *)word;
    return argv;
}

static void say_started(const struct order *order, const struct user *user)
{
    struct wire_record record = {0};
    wire_put_number(&record, "pid", getpid());
    wire_put_number(&record, "uid", user->uid);
    wire_put_number(&record, "gid", user->gid);
    child_report(order, WIRE_A_STARTED, &record);
}

/* /dev/stdout can be opened anew by the user whose stream it is. /dev/null stays everybody's. */
static void give_streams(const struct order *order, const struct user *user)
{
    struct stat status;
    for (int stream = 0; stream < 3 && user->uid != 0; stream++)
        if (fstat(stream, &status) == 0 && (order->terminal || S_ISFIFO(status.st_mode)))
            (void)!fchown(stream, user->uid, (gid_t)-1);
}

/* A machine that only lends itself to further processes. */
_Noreturn static void idle(const struct order *order)
{
    static const struct user nobody;
    say_started(order, &nobody);
    close(CHILD_REPORT); /* as the start of a program does */
    for (;;)
        pause();
}

void child_program(const struct order *order)
{
    struct failure why = {.exit = 126};
    static struct user user;
    if (order->request == order->config && wire_flag(order->config, "idle"))
        idle(order);
    if (find_user(choose(order, "user"), "/etc/passwd", "/etc/group", &user, &why) != 0)
        child_fail(order, &why);
    char **env = environment(order, &user);
    char **argv = arguments(order->request);
    if (env == NULL || argv == NULL) {
        fail(&why, ENOMEM, "cannot start the program");
        child_fail(order, &why);
    }
    if (enter_directory(choose(order, "cwd"), order->request == order->config, &why) != 0)
        child_fail(order, &why);
    give_streams(order, &user);
    if (confine_enter(order->config, &user, &why) != 0)
        child_fail(order, &why);
    say_started(order, &user);
    run_program(argv, env, &why);
    child_fail(order, &why);
}
