/* What a scope owns is given back when the scope is left, on every path. */
#ifndef WIRT_CLEANUP_H
#define WIRT_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void wire_cleanup_free(void *slot)
{
    free(*(void **)slot);
}

static inline void wire_cleanup_close(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
}

#define cleanup_free __attribute__((cleanup(wire_cleanup_free)))
#define cleanup_close __attribute__((cleanup(wire_cleanup_close)))

/* Hands a resource over: yields its value and leaves the empty one in the variable. */
#define steal_fd(variable)                                                                         \
    ({                                                                                             \
        int stolen_ = (variable);                                                                  \
        (variable) = -1;                                                                           \
        stolen_;                                                                                   \
    })
#define steal_pointer(variable)                                                                    \
    ({                                                                                             \
        __typeof__(variable) stolen_ = (variable);                                                 \
        (variable) = NULL;                                                                         \
        stolen_;                                                                                   \
    })

#endif
