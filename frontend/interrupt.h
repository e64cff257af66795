// InterruptScope: while one is alive, SIGINT is noted instead of ending the process; a second SIGINT ends it. For
// Fit, which stops after the running step.
#ifndef WEIR_FRONTEND_INTERRUPT_H_
#define WEIR_FRONTEND_INTERRUPT_H_

namespace weir {

class InterruptScope {
 public:
  // Inner scopes and those with `enabled` false change nothing.
  explicit InterruptScope(bool enabled);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  // Whether SIGINT has come since the outermost scope began.
  bool interrupted() const;

 private:
  bool owner_ = false;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_INTERRUPT_H_
