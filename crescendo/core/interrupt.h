// Ctrl-C and SIGTERM ask for an orderly stop: long work looks at interrupted() and saves what it has.
#pragma once

namespace crescendo {

// From now on the first signal sets the flag; a second one ends the program at once.
void catch_interrupts();
bool interrupted();
void request_interrupt();  // as a signal would; for tests

}  // namespace crescendo
