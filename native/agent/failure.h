/* Why something could not be done, for the one who asked for it. */
#ifndef WIRT_AGENT_FAILURE_H
#define WIRT_AGENT_FAILURE_H

struct failure {
    int error; /* errno */
    int exit;  /* exit code that a shell would give: 125, 126 or 127; 0: none */
    char message[512];
};

/*
 * Fills `why` but for the exit code, and returns -error (-1 for 0). `format` makes the message; the
 * errno's text is appended.
 */
int fail(struct failure *why, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
