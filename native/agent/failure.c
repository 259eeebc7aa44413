#include "failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fail(struct failure *why, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(why->message, sizeof why->message, format, arguments);
    va_end(arguments);
    size_t used = length < 0 ? 0 : (size_t)length;
    if (error != 0 && used + 1 < sizeof why->message)
        snprintf(why->message + used, sizeof why->message - used, ": %s", strerror(error));
    why->error = error;
    return error == 0 ? -1 : -error;
}
