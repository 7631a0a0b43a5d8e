/* onednn.c - see onednn.h. */
#include "trainer/onednn.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)
/* Versions of one major number have the same interface. */
#define LIBRARY "libdnnl.so." TEXT(DNNL_VERSION_MAJOR)

onednn_table onednn;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char failure[400]; /* "" when all is well */

static void load(void) {
    static const char *const names[] = {
#define NAME(name) "dnnl_" #name,
        ONEDNN_FUNCTIONS(NAME)
#undef NAME
    };
    enum { COUNT = sizeof names / sizeof *names };
    union {
        void *symbols[COUNT];
        onednn_table table;
    } found; /* C has no cast from an object's address to a function's */
    _Static_assert(sizeof found.symbols == sizeof found.table, "pointers of two sizes");
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    bool whole = library != NULL;
    for (int i = 0; i < COUNT && whole; i++) {
        found.symbols[i] = dlsym(library, names[i]);
        whole = found.symbols[i] != NULL;
    }
    if (!whole) {
        const char *reason = dlerror();
        snprintf(failure, sizeof failure, "%s", reason ? reason : LIBRARY);
        return;
    }
    onednn = found.table;
}

vqz_status onednn_load(vqz_diag *diag) {
    pthread_once(&once, load);
    if (failure[0] != '\0')
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "training needs oneDNN (%.300s); install it (Debian: libdnnl2)", failure);
    return VQZ_OK;
}
