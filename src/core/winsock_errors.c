#include "core/winsock_errors.h"

const char *
winsock_error_symbol(int number)
{
    switch (number) {
#define X(name, value)                                                                             \
    case value:                                                                                    \
        return #name;
        WINSOCK_ERRORS(X)
#undef X
    default:
        return "UNKNOWN";
    }
}
