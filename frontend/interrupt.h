// InterruptScope: while one is alive, SIGINT is noted instead of ending the process; a second SIGINT ends it. For
// Fit, which stops after the running step. A process that ignores SIGINT, as those that a shell runs in the background,
// goes on ignoring it.
#ifndef WEIR_FRONTEND_INTERRUPT_H_
#define WEIR_FRONTEND_INTERRUPT_H_

namespace weir {

class InterruptScope {
 public:
  // Without effect if `enabled` is false or SIGINT is ignored. Several may be alive at once, in several threads too.
  explicit InterruptScope(bool enabled);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  // Whether SIGINT has come since the first of the scopes that are alive began.
  bool interrupted() const;

 private:
  bool enabled_ = false;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_INTERRUPT_H_
