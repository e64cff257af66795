// The running of one Fit: epochs of shuffled batches, validation, callbacks, progress, interruption. Not for users.
#ifndef WEIR_FRONTEND_FIT_LOOP_H_
#define WEIR_FRONTEND_FIT_LOOP_H_

#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weir/frontend/fit_progress.h"
#include "weir/frontend/interrupt.h"
#include "weir/frontend/trainer.h"

namespace weir {

class FitLoop {
 public:
  // Throws Error for data and options that don't fit. Nothing is changed before Run.
  FitLoop(Trainer& trainer, const Examples& data, const FitOptions& options);
  ~FitLoop();

  // However it ends, the trainer's progress says where to go on.
  History Run();

 private:
  friend class FitContext;

  // Calls that are all to be made even if one throws; then the first exception is thrown.
  class Calls {
   public:
    explicit Calls(FitContext& context) : context_(context) {}
    template <class F>
    void Make(const F& call) {
      try {
        call();
      } catch (...) {
        Note();
      }
    }
    void Rethrow() const {
      if (first_) std::rethrow_exception(first_);
    }

   private:
    void Note();
    FitContext& context_;
    std::exception_ptr first_;
  };

  template <class F>
  void ForEachCallback(const F& call) {
    Calls calls(context_);
    for (const CallbackPtr& callback : options_.callbacks) calls.Make([&] { call(*callback); });
    calls.Rethrow();
  }

  void SplitData(const Examples& data);
  void Begin(FitProgress before);
  void TrainEpochs();
  bool Epoch();
  void Step(std::span<const int64_t> rows);
  void EndEpoch(Logs& logs);
  void RestoreCallbacks(const std::vector<CallbackState>& states);
  std::vector<CallbackState> CallbackStates() const;
  FitProgress Progress() const;
  void Publish();
  std::string FirstNonFinite();

  Trainer& trainer_;
  TrainerCall call_{trainer_};
  const FitOptions& options_;
  std::optional<BoundExamples> train_, validation_;
  EpochMeans means_;
  InterruptScope interrupt_;
  FitContext context_;
  std::unique_ptr<ProgressLine> line_;
  std::vector<std::string> keys_;
  std::function<FitProgress()> outer_progress_ = trainer_.running_progress_;
  int64_t first_epoch_ = 0;
  int64_t steps_ = 0;
  int64_t epoch_ = 0, step_ = 0;        // the next step to make
  std::span<const int64_t> last_rows_;  // of the step before callbacks are told of it
  bool guard_ = false;
  bool stop_ = false;
  bool interrupted_ = false;
  History result_;
};

}  // namespace weir

#endif  // WEIR_FRONTEND_FIT_LOOP_H_
