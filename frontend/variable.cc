#include "weir/frontend/variable.h"

#include <atomic>
#include <mutex>
#include <utility>

#include "weir/core/error.h"
#include "weir/core/float_state.h"
#include "weir/core/fork_guard.h"
#include "weir/frontend/variable_locks.h"

namespace weir {
namespace {

// A lock that is had in the order of asking. A mutex would be taken back at once by a training that has just let go.
class QueueLock {
 public:
  void lock() {
    ThrowIfError(CheckFork());
    const uint32_t ticket = next_.fetch_add(1, std::memory_order_relaxed);
    for (uint32_t now = serving_.load(std::memory_order_acquire); now != ticket;
         now = serving_.load(std::memory_order_acquire)) {
      serving_.wait(now, std::memory_order_acquire);
    }
  }
  void unlock() {
    serving_.fetch_add(1, std::memory_order_release);
    serving_.notify_all();
  }

 private:
  std::atomic<uint32_t> next_{0}, serving_{0};
};

}  // namespace

struct Variable::State {
  VariableOptions options;
  std::string owner;
  TensorType type;
  uint64_t seed = 0;
  uint64_t stream = 0;
  bool seeded = false;
  QueueLock lock;  // guards the value and where it comes from
  Tensor value;

  void Initialize() {
    if (value.defined()) return;
    const ScopedFloatState state(ScopedFloatState::Subnormals::kKept);
    RandomStream random(seed, stream);
    value = options.initializer(type.shape, random);
    if (value.dtype() == DType::kFloat32 && type.dtype != DType::kFloat32) value = value.Cast(type.dtype);
    if (value.type() != type) {
      ThrowInvalidArgument("initializer ", options.initializer.class_name(), " of ", owner, "/", options.name, " made ",
                           value.type(), ", expected ", type);
    }
    // An initializer of the user's own may hand out a tensor that it keeps.
    if (value.use_count() > 1) value = value.Clone();
  }
};

Variable::Variable(VariableOptions options, std::string owner) : state_(std::make_shared<State>()) {
  if (options.trainable && options.dtype != DType::kFloat32) {
    ThrowInvalidArgument("weight ", owner, "/", options.name, " is ", TensorType{options.dtype, options.shape},
                         ": what is trained is float32, other types are for .trainable = false");
  }
  state_->type = {options.dtype, options.shape};
  state_->options = std::move(options);
  state_->owner = std::move(owner);
}

Variable::State& Variable::state() const {
  if (state_ == nullptr) ThrowFailedPrecondition("the variable is undefined");
  return *state_;
}

std::string Variable::path() const { return state().owner + "/" + state().options.name; }
const std::string& Variable::leaf_name() const { return state().options.name; }
const TensorType& Variable::type() const { return state().type; }
bool Variable::trainable() const { return state().options.trainable; }
const Constraint& Variable::constraint() const { return state().options.constraint; }
const Regularizer& Variable::regularizer() const { return state().options.regularizer; }
void Variable::SetOwner(std::string owner) { state().owner = std::move(owner); }
void Variable::SetTrainable(bool trainable) { state().options.trainable = trainable; }

Tensor Variable::value() const {
  const LibraryCall call;
  const std::lock_guard lock(state().lock);
  return LockedValue();
}

void Variable::Assign(const Tensor& value) { Adopt(value.Clone()); }

void Variable::Adopt(Tensor value) {
  const LibraryCall call;
  const std::lock_guard lock(state().lock);
  LockedAdopt(std::move(value));
}

void Variable::Lock() const { state().lock.lock(); }
void Variable::Unlock() const { state().lock.unlock(); }

const Tensor& Variable::LockedValue() const {
  state().Initialize();
  return state().value;
}

Tensor& Variable::LockedExclusive() {
  state().Initialize();
  if (!HeldAlone(state().value)) state().value = state().value.Clone();
  return state().value;
}

void Variable::LockedAdopt(Tensor value) {
  if (!value.defined() || value.type() != type()) {
    ThrowInvalidArgument("variable ", path(), " is ", type(), ", cannot be assigned ", value.type());
  }
  state().value = std::move(value);
}

void Variable::Seed(uint64_t seed, uint64_t stream, bool override_earlier) {
  const LibraryCall call;
  State& s = state();
  const std::lock_guard lock(s.lock);
  if (s.value.defined() || (s.seeded && !override_earlier)) return;
  s.seed = seed;
  s.stream = stream;
  s.seeded = true;
}

std::ostream& operator<<(std::ostream& out, const Variable& variable) {
  if (!variable.defined()) return out << "<undefined variable>";
  const std::string values = StrCat(variable.value());
  return out << "<tf.Variable '" << variable.name() << "' shape=" << PythonTuple(variable.shape())
             << " dtype=" << Name(variable.type().dtype)
             << ", numpy=" << (values.find('\n') != std::string::npos ? "\n" : "") << values << ">";
}

}  // namespace weir
