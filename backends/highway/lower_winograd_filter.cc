#include "weir/backends/highway/winograd.h"
